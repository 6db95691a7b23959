"""The start of fine-tuning: exact levels, nearer to the float network than plain rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.network.model import Network
from engine.network.prepare import prepare
from engine.network.simulate import run
from engine.program.quantized import prepare_quantized, start_training, to_program
from engine.specs.plan import Plan, WeightPlan
from engine.training.second_order_start import second_order_start
from tests.curvature.networks import CASES, objective_of


def narrow(network: Network, bits: int, granularity: str = "channel") -> Plan:
    entry = WeightPlan.model_validate({"bits": bits, "granularity": granularity})
    return Plan(weights={c.name: entry for c in network.weighted})


def distance(
    network: Network, bits: int, x: torch.Tensor, *, second_order: bool, granularity: str = "channel"
) -> float:
    """Mean square difference of the output counts from the float network's."""
    form, parameters = start_training(network, narrow(network, bits, granularity), (0, 1))
    if second_order:
        parameters = second_order_start(form, parameters, x.numpy())
    frames = x.transpose(0, 1)
    with torch.no_grad():
        difference = run(prepare_quantized(form, parameters), frames).counts - run(prepare(network), frames).counts
    return float(difference.square().mean())


@pytest.mark.parametrize("granularity", ["channel", "layer"])
@pytest.mark.parametrize("name", ["recurrent", "value_same_step", "cubalif", "many_spikes", "convolution"])
def test_outputs_come_nearer_to_the_float_networks(name: str, granularity: str) -> None:
    network = objective_of(next(c for c in CASES if c.name == name)).network
    x = torch.as_tensor((np.random.default_rng(5).random((64, 40, *network.input_shape)) < 0.5).astype(np.uint8))
    plain = [distance(network, bits, x, second_order=False, granularity=granularity) for bits in (2, 3, 4)]
    rounded = [distance(network, bits, x, second_order=True, granularity=granularity) for bits in (2, 3, 4)]
    assert sum(rounded) < 0.9 * sum(plain)


def test_weights_lie_on_levels_and_the_argument_is_unchanged() -> None:
    network = objective_of(next(c for c in CASES if c.name == "recurrent")).network
    form, before = start_training(network, narrow(network, 3), (0, 1))
    kept = {name: value.clone() for name, value in before.items()}
    x = (np.random.default_rng(5).random((16, 40, 3)) < 0.5).astype(np.uint8)
    after = second_order_start(form, before, x)
    assert all(torch.equal(before[name], kept[name]) for name in kept)
    assert any(not torch.equal(after[name], kept[name]) for name in kept)
    program = to_program(form, after)
    for connection in program.connections:
        if connection.weight is not None:
            assert np.abs(connection.weight).max() <= 3


def test_one_bit_weights_start_as_they_are() -> None:
    network = objective_of(next(c for c in CASES if c.name == "recurrent")).network
    form, before = start_training(network, narrow(network, 1), (0, 1))
    after = second_order_start(form, before, np.ones((2, 10, 3), np.uint8))
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_inputs_that_never_fire_leave_scales_and_nearest_levels() -> None:
    """Nothing is known then: every factor costs the same."""
    network = objective_of(next(c for c in CASES if c.name == "convolution")).network
    form, before = start_training(network, narrow(network, 3), (0, 1))
    after = second_order_start(form, before, np.zeros((2, 10, *network.input_shape), np.uint8))
    first = next(c for c in network.weighted if c.kind != "linear")
    scale = f"log2_scale:{first.target}"
    assert torch.equal(after[scale], before[scale])
    for name in before:
        assert bool(torch.isfinite(after[name]).all())
    program, plain = to_program(form, after), to_program(form, before)
    for one, other in zip(program.connections, plain.connections, strict=True):
        if one.name == first.name:
            assert one.weight is not None
            assert other.weight is not None
            assert np.array_equal(one.weight, other.weight)
