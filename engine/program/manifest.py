"""The manifest of a program folder: everything but the packed arrays, as canonical JSON (docs/program.md, Manifest).

Short by four rules: what two layers or connections have in common stands once, in ``shared``; defaults are left out;
so is what follows from something else (shapes at both ends of a connection, offsets, bounds); an array is its type in a
word.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.program.bounds import program_bounds
from engine.program.long_form import layer_fields
from engine.program.pack import PackedArray, pack_bits, program_arrays, shrink
from engine.program.program import INPUT, Connection, IntegerProgram, Layer, Map, SumPool

FORMAT, VERSION = "spikebit-program", 3
UNSEALED = "0" * 64  # stands where the manifest's own digest goes while that digest is computed
LEAK = {"shift_bits": 0, "rounding": "floor"}
LAYER = {
    "fraction_bits": 0, "leak_v": {"kind": "none"}, "leak_i": None, "reset": "none", "reset_timing": "same_step",
    "reset_order": None, "drop_reset_input": False, "current": "new", "max_spikes": 1,
}  # fmt: skip
Entry = tuple[dict[str, Any], dict[str, Any]]  # what may be shared, what is one's own


def build_manifest(program: IntegerProgram, provenance: Mapping[str, str]) -> dict[str, Any]:
    """The manifest without its ``digests``.

    Args:
        program: what to describe.
        provenance: versions and seeds that made it; never times, hosts, job ids or paths.
    """
    arrays: defaultdict[tuple[str, int], list[PackedArray]] = defaultdict(list)
    for array in program_arrays(program):
        arrays[array.of, array.index].append(array)
    order = {layer.name: index for index, layer in enumerate(program.layers)}
    layers = [(_semantics(layer), _own(layer, arrays["layer", k])) for k, layer in enumerate(program.layers)]
    connections = [
        (_geometry(c), _joined(c, order, arrays["connection", k])) for k, c in enumerate(program.connections)
    ]
    shared, short = _share(layers + connections)
    return {
        "format": FORMAT,
        "version": VERSION,
        "input": _input(program),
        "output": program.output,
        "readout": program.readout,
        "shared": shared,
        "layers": short[: len(layers)],
        "connections": short[len(layers) :],
        "multiplications": _multiplications(program),
        "provenance": dict(provenance),
    }


def seal(manifest: Mapping[str, Any], payload: bytes, golden: bytes) -> bytes:
    """The manifest's bytes, with the digests of payload, golden vectors and (last) of itself in place."""
    digests = {
        "payload": {"bytes": len(payload), "sha256": hashlib.sha256(payload).hexdigest()},
        "golden": {"bytes": len(golden), "sha256": hashlib.sha256(golden).hexdigest()},
        "manifest": UNSEALED,
    }
    own = hashlib.sha256(canonical_json({**manifest, "digests": digests})).hexdigest()
    return canonical_json({**manifest, "digests": digests | {"manifest": own}})


def canonical_json(value: object) -> bytes:
    """Sorted keys, no spaces, UTF-8 without escapes beyond JSON's own, no NaN, a newline at the end.

    Example:
        >>> canonical_json({"b": 1, "a": [True, None]})
        b'{"a":[true,null],"b":1}\\n'
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def _share(entries: list[Entry]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What two entries or more have in common, once each, and the entries, ``like`` those."""
    texts = [json.dumps(common, sort_keys=True) for common, _ in entries]
    often = [text for text, times in Counter(texts).items() if times > 1 and text != "{}"]
    short = [
        own | ({"like": often.index(text)} if text in often else common)
        for text, (common, own) in zip(texts, entries, strict=True)
    ]
    return [json.loads(text) for text in often], short


def _input(program: IntegerProgram) -> dict[str, Any]:
    scale = program.input.scale
    values = {"lo": program.input.lo, "hi": program.input.hi, "scale": None if scale is None else _decimal(scale)}
    return {"shape": list(program.input.shape)} | _but(values, {"lo": 0, "hi": 1, "scale": None})


def _semantics(layer: Layer) -> dict[str, Any]:
    """What a layer does, without its arrays."""
    values = layer_fields(layer)
    for leak in ("leak_v", "leak_i"):
        values[leak] = None if values[leak] is None else _but(values[leak], LEAK)
    return _but(values, LAYER)


def _own(layer: Layer, arrays: list[PackedArray]) -> dict[str, Any]:
    types = {array.role: _type(array) for array in arrays}
    if types.get("reset_delta") == "u1":
        types.pop("reset_delta")
    bits = layer.scale.view(np.int32).astype(np.int64)  # so that equality is exact
    made = {"name": layer.name, "shape": list(layer.shape), "scale": _scale(shrink(bits))}
    return made | ({"arrays": types} if types else {})


def _geometry(connection: Connection) -> dict[str, Any]:
    """What a connection does, without its arrays, its ends and its size."""
    values: dict[str, Any] = {
        "kind": connection.kind,
        "bits": connection.bits,
        "before": [_map(part) for part in connection.before],
        "after": [_map(part) for part in connection.after],
        "groups": connection.groups,
    }
    axes = 1 if connection.kind == "conv1d" else 2
    defaults = {"kind": "linear", "bits": 0, "before": [], "after": [], "groups": 1}
    if connection.kind.startswith("conv"):  # elsewhere they mean nothing
        values |= {name: list(getattr(connection, name)) for name in ("stride", "padding", "dilation")}
        defaults |= {"stride": [1] * axes, "padding": [0] * axes, "dilation": [1] * axes}
    return _but(values, defaults)


def _joined(connection: Connection, order: Mapping[str, int], arrays: list[PackedArray]) -> dict[str, Any]:
    """A connection's name, ends and size; how late it is where that does not follow from its ends."""
    source, target = order.get(connection.source, -1), order[connection.target]
    made: dict[str, Any] = {"name": connection.name, "to": target}
    if connection.source != INPUT:
        made["from"] = source
    if connection.delayed != (source >= target):
        made["delayed"] = connection.delayed
    plain = not connection.after and not any(isinstance(part, SumPool) for part in connection.before)
    follows = connection.kind == "linear" and plain  # all values onto all neurons
    if connection.weight is not None and not follows:
        made["weights"] = list(connection.weight_shape)
    types = {array.role: _type(array) for array in arrays if array.role != "weight" or array.encoding == "ternary"}
    if types.get("exponent") == "u1":
        types.pop("exponent")
    return made | ({"arrays": types} if types else {})


def _type(array: PackedArray) -> str:
    """``u`` or ``s`` and the width; the number of entries where there are several."""
    if array.encoding == "ternary":
        return "ternary"
    return f"{array.encoding[0]}{array.width}" + (f"*{array.values.size}" if array.values.size > 1 else "")


def _scale(bits: NDArray[np.int64]) -> float | str:
    """Scales from their bit patterns: a number, or ``LEAST+WIDTH*COUNT:DATA`` (:func:`runtime.scales.read_scale`)."""
    if bits.size == 1:
        return _decimal(bits.astype(np.int32).view(np.float32)[0])
    least = int(bits.min())
    width = int(bits.max() - least).bit_length()
    return f"{least}+{width}*{bits.size}:{base64.b85encode(pack_bits(bits - least, width)).decode()}"


def _decimal(scale: np.float32) -> float:
    """The shortest decimal number whose nearest float32 it is."""
    return float(str(scale))


def _map(part: Map) -> dict[str, Any]:
    if not isinstance(part, SumPool):
        return {"flatten": [part.start, part.end]}
    kernel = list(part.kernel)
    values = {"stride": list(part.stride), "padding": list(part.padding)}
    return {"sum_pool": kernel} | _but(values, {"stride": kernel, "padding": [0, 0]})


def _multiplications(program: IntegerProgram) -> dict[str, list[int]]:
    """Where a multiplication or division is needed, by what; indices of connections (``weight``) and layers."""
    bounds = program_bounds(program).connections
    wide = [max(abs(n) for n in bound.values) > 1 for bound in bounds]
    found = {
        "weight": [
            index
            for index, c in enumerate(program.connections)
            if c.weight is not None and wide[index] and int(np.abs(c.weight).max()) > 1
        ],
        "leak_v": [k for k, layer in enumerate(program.layers) if layer.leak_v.kind == "mul_shift"],
        "leak_i": [k for k, la in enumerate(program.layers) if la.leak_i is not None and la.leak_i.kind == "mul_shift"],
        "reset_sub": [k for k, layer in enumerate(program.layers) if layer.max_spikes > 1],
    }
    return {name: where for name, where in found.items() if where}


def _but(values: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Values without those that are the default."""
    return {name: value for name, value in values.items() if name not in defaults or defaults[name] != value}
