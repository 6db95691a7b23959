"""Lava's own simulation of an exported program beside the reference runner's, step by step."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.exports.lava import export_lava
from engine.program.manifest import build_manifest
from engine.program.pack import payload
from engine.program.program import IntArray, IntegerProgram
from runtime import parse_program, run
from tests.conftest import ROOT

PYTHON = ROOT / ".venv-lava" / "bin" / "python"
ABSENT = "no .venv-lava: make frameworks-lava (Python 3.10)"


def lava_spikes(program: IntegerProgram, x: IntArray, folder: Path) -> IntArray:
    """Output spikes ``[sample, time, output]``, from the step on in which the first input reaches the output.

    Raises:
        RuntimeError: Lava does not load or run the file.
    """
    (folder / "network.net").write_bytes(export_lava(program).network)
    np.savez(folder / "in.npz", x=x)
    command = [str(PYTHON), str(Path(__file__).with_name("lava_driver.py")), "network.net", "in.npz", "out.npz"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(ran.stderr)
    with np.load(folder / "out.npz") as held:
        found = np.moveaxis(held["spikes"], -1, 1)
    return found.reshape(*found.shape[:2], *program.layer(program.output).shape).astype(np.int64)


def expected_spikes(program: IntegerProgram, x: IntArray) -> IntArray:
    """The same of the program whose connections all take the one step more that Lava's blocks take."""
    connections = tuple(
        c if c.delayed else replace(c, delay=np.ones(c.source_shape, dtype=np.int64)) for c in program.connections
    )
    late = replace(program, connections=connections)
    wait = len(program.layers)
    longer = np.concatenate([x, np.zeros((len(x), wait, *x.shape[2:]), dtype=x.dtype)], axis=1)
    return run(parse_program(build_manifest(late, {}), payload(late)), longer).spikes[program.output][:, wait:]
