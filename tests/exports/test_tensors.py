"""The safetensors export, read by the safetensors library: the integers of the payload."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load

from engine.exports.tensors import export_tensors
from engine.program.pack import program_arrays
from tests.program.programs import random_program


@pytest.mark.parametrize("seed", range(8))
def test_every_array_is_there_unpacked(seed: int) -> None:
    program = random_program(seed)
    made = export_tensors(program)
    held = load(made.tensors)
    owners = {"layer": program.layers, "connection": program.connections}
    names = {f"{layer.name}/scale" for layer in program.layers}
    for array in program_arrays(program):
        name = f"{owners[array.of][array.index].name}/{array.role}"
        names.add(name)
        np.testing.assert_array_equal(held[name].reshape(-1), array.values)
        assert held[name].dtype.kind in "iu"
    assert set(held) == names
    for connection in program.connections:
        if connection.weight is not None:
            np.testing.assert_array_equal(held[f"{connection.name}/weight"], connection.weight)
    manifest = json.loads(made.manifest)
    assert [layer["name"] for layer in manifest["layers"]] == [layer.name for layer in program.layers]
