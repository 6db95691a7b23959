"""A program's graph, widths and ranges with every field spelled out: the manifest of version 2 (docs/program-2.md).

The safetensors export writes it: nothing has to be merged or derived to read it. Folders hold the compact form of
:mod:`engine.program.manifest`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.program.bounds import multiplications, program_bounds
from engine.program.pack import PackedArray, program_arrays, shrink
from engine.program.program import Connection, IntegerProgram, Layer, Leak, Map, SumPool

FORMAT, VERSION = "spikebit-program", 2


def long_form(program: IntegerProgram, provenance: Mapping[str, str]) -> dict[str, Any]:
    """The manifest without its ``digests``.

    Args:
        program: what to describe.
        provenance: versions and seeds that made it; never times, hosts, job ids or paths.
    """
    bounds = program_bounds(program)
    return {
        "format": FORMAT,
        "version": VERSION,
        "input": {
            "shape": list(program.input.shape),
            "lo": program.input.lo,
            "hi": program.input.hi,
            "scale": None if program.input.scale is None else _float32(np.asarray(program.input.scale)),
        },
        "output": program.output,
        "readout": program.readout,
        "layers": [
            _layer(layer) | {"bounds": {"input": bound.input, "inner": bound.inner}}
            for layer, bound in zip(program.layers, bounds.layers, strict=True)
        ],
        "connections": [
            _connection(connection)
            | {"bounds": {"lo": bound.values[0], "hi": bound.values[1], "accumulator": bound.accumulator}}
            for connection, bound in zip(program.connections, bounds.connections, strict=True)
        ],
        "arrays": _arrays(program_arrays(program)),
        "multiplications": list(multiplications(program)),
        "provenance": dict(provenance),
    }


def _layer(layer: Layer) -> dict[str, Any]:
    scale = layer.scale.view(np.int32).astype(np.int64)  # bits, so that equality is exact
    entries = shrink(scale).astype(np.int32).view(np.float32)
    own = {"name": layer.name, "shape": list(layer.shape), "scale": _float32(entries)}
    return own | layer_fields(layer)


def layer_fields(layer: Layer) -> dict[str, Any]:
    """What a layer does, every field; without its name, shape and arrays."""
    return {
        "kind": layer.kind,
        "state_bits": layer.state_bits,
        "fraction_bits": layer.fraction_bits,
        "leak_v": _leak(layer.leak_v),
        "leak_i": None if layer.leak_i is None else _leak(layer.leak_i),
        "reset": layer.reset,
        "reset_timing": layer.reset_timing,
        "reset_order": layer.reset_order,
        "drop_reset_input": layer.drop_reset_input,
        "current": layer.current,
        "max_spikes": layer.max_spikes,
    }


def _float32(values: NDArray[np.float32]) -> str:
    """Little-endian float32 in base64."""
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def _leak(leak: Leak) -> dict[str, Any]:
    return {"kind": leak.kind, "shift_bits": leak.shift_bits, "rounding": leak.rounding}


def _connection(connection: Connection) -> dict[str, Any]:
    shape = None if connection.weight is None else connection.weight.shape
    return {
        "name": connection.name,
        "source": connection.source,
        "target": connection.target,
        "kind": connection.kind,
        "source_shape": list(connection.source_shape),
        "target_shape": list(connection.target_shape),
        "bits": connection.bits,
        "weight_shape": None if shape is None else list(shape),
        "before": [_map(part) for part in connection.before],
        "after": [_map(part) for part in connection.after],
        "delayed": connection.delayed,
        "stride": list(connection.stride),
        "padding": list(connection.padding),
        "dilation": list(connection.dilation),
        "groups": connection.groups,
    }


def _map(part: Map) -> dict[str, Any]:
    if isinstance(part, SumPool):
        return {
            "kind": "sum_pool",
            "kernel": list(part.kernel),
            "stride": list(part.stride),
            "padding": list(part.padding),
        }
    return {"kind": "flatten", "start": part.start, "end": part.end}


def _arrays(arrays: tuple[PackedArray, ...]) -> list[dict[str, Any]]:
    entries, offset = [], 0
    for array in arrays:
        entries.append(
            {
                "of": array.of,
                "index": array.index,
                "role": array.role,
                "count": array.values.size,
                "width": array.width,
                "encoding": array.encoding,
                "offset": offset,
                "bytes": array.size_bytes,
            }
        )
        offset += array.size_bytes
    return entries
