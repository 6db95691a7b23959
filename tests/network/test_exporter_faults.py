"""What exporters get wrong, held on to: their file read as NIR's equations say is not the network that they ran."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import InvalidModel
from engine.network.discretise import discretise
from engine.network.nir_reader import read_nir
from engine.network.nodes import IF, LIF, CubaLIF
from engine.network.prepare import prepare
from engine.network.simulate import run
from engine.specs.dynamics import PRESETS
from tests.fixtures.load import load_fixture


def differing(name: str, **fields: Any) -> int:
    """Spikes that differ where fields of the fixture's profile are replaced."""
    fixture = load_fixture(name)
    asked = fixture.dynamics
    profile = PRESETS[asked["preset"]].model_copy(update=asked.get("set", {}) | fields)
    network = discretise(read_nir(fixture.nir), profile)
    trace = run(prepare(network), torch.as_tensor(np.moveaxis(fixture.x, 0, 1)), record="*")
    return sum(
        int((np.moveaxis(trace.spikes[node].numpy(), 0, 1) != expected).sum())
        for node, expected in fixture.spikes.items()
    )


def node(name: str, key: str) -> Any:
    return read_nir(load_fixture(name).nir).nodes[key]


def test_norse_scales_time_constants_and_leaves_w_in_at_one() -> None:
    cell = node("norse-lif-mlp", "1")
    assert isinstance(cell, CubaLIF)
    assert (cell.tau_mem < 1e-4).all()
    assert float(cell.w_in) == 1.0  # type: ignore[arg-type]
    assert differing("norse-lif-mlp") == 0
    assert differing("norse-lif-mlp", current_gain="ode") > 1000
    with pytest.raises(InvalidModel, match="forward Euler needs dt_s"):
        differing("norse-lif-mlp", dt_s=1e-3)
    integrator = node("norse-iaf-mlp", "1")
    assert isinstance(integrator, IF)
    assert float(integrator.r) == 1.0
    assert differing("norse-iaf-mlp", dt_s=1e-6) > 1000


def test_sinabs_writes_the_same_r_for_both_kinds_of_input() -> None:
    for name in ("sinabs-lif-mlp", "sinabs-lif-unnormed-mlp"):
        cell = node(name, "1")
        assert isinstance(cell, LIF)
        assert float(cell.r) == 1.0
    assert differing("sinabs-lif-unnormed-mlp", membrane_gain="ode") > 1000
    assert differing("sinabs-lif-mlp", membrane_gain="direct") > 1000


def test_rockpools_r_is_not_what_it_computes_with() -> None:
    assert differing("rockpool-lif-mlp", membrane_gain="ode") > 1000
    assert differing("rockpool-lif-mlp", current_gain="ode") > 1000


def test_snntorch_resets_a_residue_twice() -> None:
    assert differing("snntorch-leaky-undelayed-mlp") == 0
    assert differing("snntorch-leaky-undelayed-mlp", residue="fires") > 1000


def test_rsynaptic_delays_its_reset_whatever_it_is_asked() -> None:
    about = load_fixture("snntorch-rsynaptic-undelayed").about
    assert about["dynamics"] == {"preset": "snntorch-leaky"}
    assert "no effect" in about["note"]
    assert differing("snntorch-rsynaptic-undelayed") == 0
