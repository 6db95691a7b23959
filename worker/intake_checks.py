"""What a limited child does with one upload: refuse it, or write its canonical form (an export: the file asked for)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.data.canonicalise import canonicalise
from engine.data.frames import digest_file
from engine.data.zip_safe import ZipLimits
from engine.errors import EngineError, InvalidDataset, InvalidModel
from engine.exports.frameworks.rewrite import rewrite_for
from engine.network.canonical import read_canonical, write_canonical
from engine.network.discretise import discretise
from engine.network.hdf5_safe import Hdf5Limits
from engine.network.nir_reader import read_nir
from engine.network.summary import summarise
from engine.specs.data import Transform
from engine.specs.dynamics import AUTO, Dynamics, DynamicsRequest, resolve_dynamics
from engine.specs.frameworks import FRAMEWORKS

Answer = dict[str, Any]
_EDGE = 1 << 16  # bytes at either end of a file that are searched for signs of a pickle


def check_upload(request: Mapping[str, Any]) -> Answer:
    """Answer one request of the intake supervisor.

    Args:
        request: ``kind`` (``model``, ``dataset``, ``export``), ``path`` of the upload, ``out`` for the canonical file,
            and for a model ``dynamics`` (resolved, or a preset with overrides, or null) and ``repair``, for a dataset
            ``format``, ``transform`` and ``source`` (its digest), for an export (whose ``path`` is a canonical model)
            ``dynamics``, ``framework`` and ``snippet``; ``limits`` may hold ``inflated_bytes``.

    Returns:
        ``{"ok": true, "canonical", "sha256", "summary"}`` or ``{"ok": false, "code", "detail", "pointer"}``.
    """
    kind = str(request.get("kind"))
    try:
        if kind not in _CHECKS:
            raise EngineError("unsupported_media_type", f"expected one of {', '.join(_CHECKS)}, found {kind!r}")
        path, out = Path(request["path"]), Path(request["out"])
        _refuse_pickle(path)
        digest, summary = _CHECKS[kind](request, path, out)
    except EngineError as error:
        return {"ok": False, "code": error.code, "detail": error.detail, "pointer": error.pointer}
    except MemoryError:
        detail = "checking the file needs more memory than is allowed"
        return {"ok": False, "code": "out_of_memory", "detail": detail, "pointer": None}
    return {"ok": True, "canonical": str(out), "sha256": digest, "summary": summary}


def _check_model(request: Mapping[str, Any], path: Path, out: Path) -> tuple[str, Answer]:
    limits = Hdf5Limits()
    bound = (request.get("limits") or {}).get("inflated_bytes", limits.max_bytes)
    graph = read_nir(path, bool(request.get("repair")), Hdf5Limits(max_bytes=min(int(bound), limits.max_bytes)))
    dynamics = _dynamics(request.get("dynamics"))
    summary = summarise(graph, None if dynamics is None else discretise(graph, dynamics))
    return write_canonical(graph, out), summary


def _check_dataset(request: Mapping[str, Any], path: Path, out: Path) -> tuple[str, Answer]:
    limits = ZipLimits()
    bound = (request.get("limits") or {}).get("inflated_bytes", limits.max_bytes)
    try:
        transform = Transform.model_validate(request.get("transform") or {})
    except ValidationError as error:
        raise InvalidDataset("invalid_transform", str(error)[:500], "/transform") from error
    source = str(request.get("source") or "").removeprefix("sha256:") or None
    name = str(request.get("format") or "frames")
    summary = canonicalise(path, out, name, transform, source, ZipLimits(max_bytes=int(bound)))
    return digest_file(out), summary


def _write_export(request: Mapping[str, Any], path: Path, out: Path) -> tuple[str, Answer]:
    dynamics = _dynamics(request.get("dynamics"))
    framework = next((name for name in FRAMEWORKS if name == request.get("framework")), None)
    if dynamics is None or framework is None:
        raise InvalidModel("invalid_dynamics", "an export needs a framework and a dynamics profile", "dynamics")
    made = rewrite_for(read_canonical(path), dynamics, framework, bool(request.get("snippet")))
    made.write(out)
    needs = {name: list(reasons) for name, reasons in made.needs_snippet.items()}
    summary = {"bytes": out.stat().st_size, "needs_snippet": needs, "renamed": made.renamed, "snippet": made.snippet}
    return digest_file(out), summary


_CHECKS: dict[str, Callable[[Mapping[str, Any], Path, Path], tuple[str, Answer]]] = {
    "model": _check_model,
    "dataset": _check_dataset,
    "export": _write_export,
}


def _dynamics(value: Any) -> Dynamics | None:
    if value is None or value.get("preset") == AUTO:  # the job finds them
        return None
    try:
        if "preset" in value:
            return resolve_dynamics(DynamicsRequest.model_validate(value))
        return Dynamics.model_validate(value)
    except KeyError as error:
        raise InvalidModel("unknown_preset", str(error.args[0]), "dynamics") from error
    except (ValidationError, TypeError) as error:
        raise InvalidModel("invalid_dynamics", str(error)[:500], "dynamics") from error


def _refuse_pickle(path: Path) -> None:
    """A pickle is code; say so instead of "not HDF5", since .pt files are what people have at hand."""
    with path.open("rb") as file:
        head = file.read(_EDGE)
        size = file.seek(0, 2)
        file.seek(max(0, size - _EDGE))
        tail = file.read(_EDGE)
    raw = len(head) > 2 and head[0] == 0x80 and head[1] in (2, 3, 4, 5)
    zipped = head[:2] == b"PK" and (b"data.pkl" in head or b"data.pkl" in tail)
    if raw or zipped:
        detail = (
            "a pickled file can run code when it is read; expected a NIR graph (HDF5) or an npz without objects: "
            "spikebit.capture(net, samples, framework=...) writes both from a trained network"
        )
        raise InvalidModel("pickle_refused", detail, None)
