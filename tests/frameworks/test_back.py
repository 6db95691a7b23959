"""Files for a framework load there, by its own importer, and give the same counts: fixtures and further networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import NotRepresentable
from engine.exports.frameworks.rewrite import rewrite_for
from engine.network.discretise import discretise
from engine.network.graph import Graph
from engine.network.nir_reader import read_nir
from engine.network.prepare import prepare
from engine.network.simulate import run
from engine.specs.dynamics import Dynamics, DynamicsRequest, resolve_dynamics
from engine.specs.frameworks import FRAMEWORKS
from tests.fixtures.load import NAMES, load_fixture
from tests.frameworks.graphs import GRAPHS, frames_for
from tests.frameworks.test_tutorials import HERE, in_venv

LEAST = {"snntorch": 22, "norse": 17, "spikingjelly": 9}  # files that a framework can be given; see docs/frameworks.md


@pytest.mark.frameworks
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_exported_networks_give_the_same_counts(framework: Any, tmp_path: Path) -> None:
    made = 0
    for name in NAMES:
        fixture = load_fixture(name)
        dynamics = resolve_dynamics(DynamicsRequest.model_validate(fixture.dynamics))
        made += write(tmp_path, name, framework, read_nir(fixture.nir), dynamics, fixture.x, fixture.readout)
    for name, make in GRAPHS.items():
        graph, dynamics = make()
        x = frames_for(graph, 24)
        counts = run(prepare(discretise(graph, dynamics)), torch.as_tensor(np.moveaxis(x, 0, 1))).counts.numpy()
        made += write(tmp_path, name, framework, graph, dynamics, x, counts)
    printed = in_venv(framework, HERE / "run_export.py", tmp_path).split()
    assert len([line for line in printed if line in {path.stem for path in tmp_path.glob("*.py")}]) == made
    assert made >= LEAST[framework]


@pytest.mark.frameworks
@pytest.mark.parametrize(
    ("framework", "faults"), [("snntorch", 5), ("norse", 3), ("spikingjelly", 3), ("sinabs", 2), ("rockpool", 1)]
)
def test_the_faults_that_the_pages_tell_are_there(framework: str, faults: int) -> None:
    told = [line for line in in_venv(framework, HERE / "faults.py", framework).splitlines() if line.startswith("the ")]
    assert len(told) == faults


def write(
    folder: Path, name: str, framework: Any, graph: Graph, dynamics: Dynamics, x: np.ndarray, counts: np.ndarray
) -> int:
    """Write what the framework can be given, alone and with a snippet; the number of files."""
    written = 0
    for kind, snippet in (("alone", False), ("snippet", True)):
        try:
            made = rewrite_for(graph, dynamics, framework, snippet)
        except NotRepresentable:
            continue
        if snippet and not made.needs_snippet:
            continue  # the same file
        stem = folder / f"{name}-{kind}"
        made.write(stem.with_suffix(".nir"))
        stem.with_suffix(".py").write_text(made.snippet, encoding="utf-8")
        np.savez(stem.with_suffix(".npz"), x=x, counts=counts)
        written += 1
    return written
