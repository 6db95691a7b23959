"""Safetensors export: a program's integers as typed tensors, and the rest of its manifest as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from engine.program.golden import narrowest
from engine.program.long_form import long_form
from engine.program.pack import program_arrays
from engine.program.program import IntegerProgram

TENSORS, MANIFEST = "program.safetensors", "program.json"


@dataclass(frozen=True)
class Tensors:
    """Bytes of ``program.safetensors`` and text of ``program.json``."""

    tensors: bytes
    manifest: str


def export_tensors(program: IntegerProgram) -> Tensors:
    """Every array of the payload, unpacked, in the narrowest integer type, named ``owner/role``.

    Weights keep their shape ``[out, in, ...]``; arrays of neurons have the entries of docs/program.md (one, one per
    channel or one per neuron). Scales are ``owner/scale``, float32. The JSON is the long form without its array table.
    """
    owners = {
        "layer": [layer.name for layer in program.layers],
        "connection": [connection.name for connection in program.connections],
    }
    arrays: dict[str, NDArray[Any]] = {}
    for array in program_arrays(program):
        owner = owners[array.of][array.index]
        values = array.values
        if array.role == "weight":
            values = values.reshape(program.connections[array.index].weight_shape)
        arrays[f"{owner}/{array.role}"] = np.ascontiguousarray(narrowest(values))
    for layer in program.layers:
        arrays[f"{layer.name}/scale"] = np.ascontiguousarray(layer.scale.astype(np.float32))
    manifest = {name: value for name, value in long_form(program, {}).items() if name != "arrays"}
    return Tensors(save(dict(sorted(arrays.items()))), json.dumps(manifest, indent=1, sort_keys=True) + "\n")
