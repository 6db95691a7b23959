"""Every committed network of every framework, spike for spike, in both simulations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.network.discretise import discretise
from engine.network.model import Network
from engine.network.nir_reader import read_nir
from engine.network.prepare import prepare
from engine.network.simulate import run
from engine.reference.float_network import simulate_floats
from engine.specs.dynamics import DynamicsRequest, resolve_dynamics
from tests.fixtures.load import NAMES, Fixture, load_fixture


def network_of(fixture: Fixture) -> Network:
    dynamics = resolve_dynamics(DynamicsRequest.model_validate(fixture.dynamics))
    return discretise(read_nir(fixture.nir), dynamics)


@pytest.mark.parametrize("name", NAMES)
def test_every_spike_is_the_frameworks(name: str) -> None:
    fixture = load_fixture(name)
    trace = run(prepare(network_of(fixture)), torch.as_tensor(np.moveaxis(fixture.x, 0, 1)), record="*")
    assert fixture.spikes
    for node, expected in fixture.spikes.items():
        found = np.moveaxis(trace.spikes[node].numpy(), 0, 1)
        assert int((found != expected).sum()) == 0, f"{node}: spikes differ"
    if fixture.about["dynamics"].get("set", {}).get("readout", "spike_count") == "spike_count":
        np.testing.assert_array_equal(trace.counts.numpy(), fixture.readout)
    else:
        np.testing.assert_allclose(trace.counts.numpy(), fixture.readout, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_membranes_are_the_frameworks(name: str) -> None:
    fixture = load_fixture(name)
    assert fixture.membranes
    samples = len(next(iter(fixture.membranes.values())))
    oracle = simulate_floats(network_of(fixture), np.moveaxis(fixture.x[:samples], 0, 1), record="*")
    for node, expected in fixture.membranes.items():
        found = np.moveaxis(oracle.membranes[node], 0, 1)
        np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=node)
        if node in fixture.spikes:
            np.testing.assert_array_equal(np.moveaxis(oracle.spikes[node], 0, 1), fixture.spikes[node][:samples])


@pytest.mark.parametrize("name", NAMES)
def test_a_fixture_is_what_the_page_promises(name: str) -> None:
    fixture = load_fixture(name)
    assert len(fixture.x) >= 64
    assert fixture.x.shape[1] >= 50
    assert all(0.02 <= (fired > 0).mean() <= 0.60 for fired in fixture.spikes.values())
    assert (np.ptp(fixture.readout, axis=0) > 0).mean() > 0.5, "outputs differ between samples"
    assert fixture.about["nir_written_by"] in ("exporter", "maker")
    assert fixture.about["versions"]
