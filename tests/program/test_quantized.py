"""The training form computes with the very integers that the program is written with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import NotRepresentable
from engine.network.model import Network
from engine.network.simulate import run
from engine.program.quantized import prepare_quantized, start_training, to_program
from engine.program.simulate import simulate_program
from engine.specs.steps import Surrogate
from tests.program.networks import PROGRAMMABLE, convolutional, memoryless, plan_of, recurrent

CASES: list[tuple[Network, dict[str, Any]]] = [
    *[(recurrent(preset, kind), {}) for preset in PROGRAMMABLE for kind in ("lif", "cubalif")],
    *[(convolutional(preset), {}) for preset in PROGRAMMABLE],
    (recurrent(gain=0.3), {"granularity": "layer", "bits": 2}),
    (recurrent(), {"state_bits": 8, "fraction_bits": 2}),
    (recurrent(readout="membrane_sum"), {"bits": 3}),
    (recurrent(), {"bits": 1}),
    (recurrent("lava", "cubalif"), {"fraction_bits": 7, "level_bits": 6, "state_bits": 24}),
    (convolutional("sinabs"), {"fraction_bits": 6, "level_bits": 4, "state_bits": 24}),
    (memoryless(recurrent("snntorch-leaky", "lif", gain=1.0)), {}),
]


@pytest.mark.parametrize(("network", "options"), CASES)
def test_training_form_equals_program(network: Network, options: dict[str, Any]) -> None:
    form, parameters = start_training(network, plan_of(network, **options), (0, 1))
    rng = np.random.default_rng(0)
    for name, value in parameters.items():  # anywhere training may go, not only where it starts
        noise = torch.as_tensor(rng.normal(size=tuple(value.shape)))
        parameters[name] = value + 0.05 * noise
    x = torch.as_tensor((rng.random((25, 6, *network.input_shape)) < 0.4).astype(np.uint8))
    with torch.no_grad():
        trained = run(prepare_quantized(form, parameters), x, record="*")
    program = simulate_program(to_program(form, parameters), x, ("*",))
    assert torch.equal(trained.counts, program.counts)
    for name, spikes in program.spikes.items():
        assert torch.equal(trained.spikes[name], spikes)
        assert torch.equal(trained.states[name].v, program.states[name].v)


def test_a_profile_that_the_program_lacks_is_refused() -> None:
    network = recurrent("snntorch-undelayed")
    with pytest.raises(NotRepresentable, match=r"'residue'.*found 'raises_threshold'"):
        start_training(network, plan_of(network), (0, 1))


def test_every_parameter_gets_a_gradient() -> None:
    network = recurrent(gain=1.0)
    form, parameters = start_training(network, plan_of(network), (0, 1))
    leaves = {name: value.requires_grad_() for name, value in parameters.items()}
    x = torch.as_tensor((np.random.default_rng(1).random((25, 6, 12)) < 0.4).astype(np.uint8))
    run(prepare_quantized(form, leaves), x, surrogate=Surrogate()).counts.square().sum().backward()  # type: ignore[no-untyped-call]
    for name, leaf in leaves.items():
        assert leaf.grad is not None, name
        assert torch.isfinite(leaf.grad).all(), name
        assert leaf.grad.abs().sum() > 0, name


def test_a_state_always_holds_its_thresholds() -> None:
    """A row of tiny weights would want so small a unit that its threshold left the state."""
    network = recurrent()
    weight = network.connections[0].weight
    assert weight is not None
    weight[0] *= 1e-6
    loop = network.connections[1].weight
    assert loop is not None
    loop[0] = 0.0
    form, parameters = start_training(network, plan_of(network, state_bits=8, fraction_bits=4), (0, 1))
    program = to_program(form, parameters)
    fire_at = program.layer("hid").fire_at
    assert fire_at is not None
    assert fire_at.max() <= 128 / 4 + 1
