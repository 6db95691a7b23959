"""The runtime runs where neither torch nor engine can be imported, and still agrees with the torch simulation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from engine.program.simulate import simulate_program
from engine.program.write import write_program
from tests.program.programs import random_input, random_program

ROOT = Path(__file__).resolve().parents[2]
ALONE = """
import sys
for name in ("torch", "engine", "scipy", "pydantic", "h5py", "api", "jobs", "worker"):
    sys.modules[name] = None  # importing it now raises ImportError
import numpy as np
import runtime
folders = sys.argv[1:]
for folder in folders:
    program = runtime.read_program(folder)
    trace = runtime.run(program, np.load(folder + "/x.npy"))
    np.savez(folder + "/alone.npz", counts=trace.counts, **{f"s_{k}": trace.spikes[la.name]
             for k, la in enumerate(program.layers)})
    assert runtime.verify_folder(folder).ok
loaded = {name.split(".")[0] for name, module in sys.modules.items() if module is not None}
assert not loaded & {"torch", "engine"}
"""


def test_runtime_alone_agrees_with_torch(tmp_path: Path) -> None:
    programs = {tmp_path / str(seed): random_program(seed) for seed in range(100, 112)}
    for seed, (folder, program) in enumerate(programs.items()):
        write_program(program, folder, random_input(program, seed), {})
        np.save(folder / "x.npy", random_input(program, seed + 1, steps=9))
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ.get("PATH", ""), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", ALONE, *map(str, programs)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    for folder, program in programs.items():
        x = torch.as_tensor(np.load(folder / "x.npy")).transpose(0, 1)  # [time, batch, ...]
        mine = simulate_program(program, x, ("*",))
        with np.load(folder / "alone.npz") as alone:
            np.testing.assert_array_equal(mine.counts.numpy(), alone["counts"])
            for k, layer in enumerate(program.layers):
                np.testing.assert_array_equal(mine.spikes[layer.name].transpose(0, 1).numpy(), alone[f"s_{k}"])
