"""Every tutorial runs in its framework's venv, and the engine finds the same counts and spikes in what it wrote."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.data.batches import Split
from engine.data.counts import read_counts
from engine.data.traces import read_traces
from engine.network.compare_traces import compare_traces
from engine.network.discretise import discretise
from engine.network.nir_reader import read_nir
from engine.network.prepare import prepare
from engine.network.simulate import run
from engine.specs.dynamics import DynamicsRequest, resolve_dynamics
from tests.conftest import ROOT

VENVS = {
    "snntorch": ".venv-frameworks", "norse": ".venv-frameworks", "spikingjelly": ".venv-frameworks",
    "sinabs": ".venv-sinabs", "rockpool": ".venv-sinabs",
}  # fmt: skip
HERE = Path(__file__).parent


def in_venv(framework: str, script: Path, *arguments: str | Path) -> str:
    """Standard output of a script in the framework's venv; skips where there is none."""
    python = ROOT / VENVS[framework] / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{VENVS[framework]} is absent: make frameworks")
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'client'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    command = [str(python), str(script), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def check(folder: Path) -> None:
    """All expected counts and spikes are the engine's, and there is something to compare."""
    profile = resolve_dynamics(DynamicsRequest.model_validate(json.loads((folder / "dynamics.json").read_text())))
    network = discretise(read_nir(folder / "model.nir"), profile)
    with np.load(folder / "samples.npz") as file:
        test = Split(file["x_test"], file["y_test"])
    prepared = prepare(network)
    if profile.readout == "spike_count":
        counts = read_counts(folder / "counts.npz", len(test))
        found = run(prepared, torch.as_tensor(np.moveaxis(test.x, 0, 1))).counts.numpy()
        assert counts.max() > 0, folder.name
        assert (np.ptp(counts, axis=0) > 0).any(), folder.name
        np.testing.assert_array_equal(found, counts, err_msg=folder.name)
    else:
        assert not (folder / "counts.npz").exists()
    shapes = {layer.name: layer.shape for layer in network.layers}
    expected = read_traces(folder / "traces.npz", len(test), test.x.shape[1], shapes)
    agreement = compare_traces(prepared, test, expected)
    assert agreement.first_difference is None, folder.name
    assert any(spikes.any() for spikes in expected.spikes.values())


@pytest.mark.frameworks
@pytest.mark.parametrize("framework", VENVS)
def test_tutorial_gives_the_same_counts_and_spikes(framework: str, tmp_path: Path) -> None:
    printed = in_venv(framework, HERE / "run_tutorial.py", ROOT / "docs" / "tutorials" / f"{framework}.md", tmp_path)
    assert "--dynamics captured/dynamics.json" in printed
    check(tmp_path / "captured")


@pytest.mark.frameworks
@pytest.mark.parametrize("framework", VENVS)
def test_other_networks_and_refusals(framework: str, tmp_path: Path) -> None:
    in_venv(framework, HERE / "more_networks.py", framework, tmp_path)
    folders = sorted(path for path in tmp_path.iterdir() if path.is_dir())
    assert folders
    for folder in folders:
        check(folder)
