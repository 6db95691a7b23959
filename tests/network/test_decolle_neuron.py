"""The simplified neuron of Lui & Neftci is a LIF with one state and a reset to zero: no spike differs in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.network.model import INPUT, Connection, Network, NeuronLayer
from engine.network.prepare import prepare
from engine.network.simulate import run
from engine.reference.decolle_neuron import simplified_neuron
from engine.specs.dynamics import PRESETS


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("alpha", [0.5, 0.9, 0.97])
def test_one_state_gives_the_same_spikes(seed: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(30, 20)), 0.3 * rng.normal(size=30)
    x = (rng.random((400, 20)) < 0.3).astype(np.float64)
    dynamics = PRESETS["nir-paper"].model_copy(update={"reset": "to_value", "spike_test": "gt"})
    full, zero = np.ones(30), np.zeros(30)
    layer = NeuronLayer("lif", "lif", (30,), alpha * full, full, zero, zero, zero, zero)
    connection = Connection("fc", INPUT, "lif", "linear", (20,), (30,), weight, bias)
    network = Network(dynamics, (20,), (layer,), (connection,), "lif")
    prepared = prepare(network, dtype=torch.float64)
    found = run(prepared, torch.as_tensor(x).unsqueeze(1), record="*").spikes["lif"][:, 0].numpy()
    expected = simplified_neuron(weight, bias, alpha, x)
    assert expected.sum() > 1000
    assert int((found != expected).sum()) == 0
    subtracting = replace(network, dynamics=dynamics.model_copy(update={"reset": "subtract"}))
    prepared = prepare(subtracting, dtype=torch.float64)
    other = run(prepared, torch.as_tensor(x).unsqueeze(1), record="*").spikes["lif"][:, 0].numpy()
    assert (other != expected).any()  # another reset is another neuron
