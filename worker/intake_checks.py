"""What a limited child does with one upload: refuse it, or write its canonical form (an export: the file asked for)."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from engine.errors import EngineError, InvalidModel

Answer = dict[str, Any]
# Kind → module with ``check(request, path, out)``, which returns digest and summary. Imported when one is asked for:
# what the other kinds import takes longer than reading a file that is refused.
CHECKS = {"model": "worker.checks.model", "dataset": "worker.checks.dataset", "export": "worker.checks.export"}
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
        if kind not in CHECKS:
            raise EngineError("unsupported_media_type", f"expected one of {', '.join(CHECKS)}, found {kind!r}")
        path, out = Path(request["path"]), Path(request["out"])
        _refuse_pickle(path)
        digest, summary = import_module(CHECKS[kind]).check(request, path, out)
    except EngineError as error:
        return {"ok": False, "code": error.code, "detail": error.detail, "pointer": error.pointer}
    except MemoryError:
        detail = "checking the file needs more memory than is allowed"
        return {"ok": False, "code": "out_of_memory", "detail": detail, "pointer": None}
    return {"ok": True, "canonical": str(out), "sha256": digest, "summary": summary}


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
