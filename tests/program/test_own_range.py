"""A quantizer that trains its input range apart from the step (DuQ): what is rounded, what a level stands for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.network.model import Network
from engine.network.simulate import run
from engine.program.quantized import QuantizedForm, prepare_quantized, start_training, to_program
from engine.quantizers.form import Phase
from engine.specs.plan import Plan, WeightPlan
from engine.specs.steps import Surrogate
from engine.training.second_order_start import second_order_start
from tests.program.networks import convolutional, recurrent

RANGE = "log2_range:"


def started(network: Network, quantizer: str) -> tuple[QuantizedForm, dict[str, torch.Tensor]]:
    plan = Plan(weights={c.name: WeightPlan(bits=3, quantizer=quantizer) for c in network.weighted})
    return start_training(network, plan, (0, 1))


@pytest.mark.parametrize("network", [recurrent(), convolutional()])
def test_at_the_start_it_is_the_step(network: Network) -> None:
    form, parameters = started(network, "ewgs")
    assert {name.removeprefix(RANGE) for name in parameters if name.startswith(RANGE)} == {
        c.name for c in network.weighted
    }
    plain_form, plain = started(network, "lsq")
    ours, theirs = to_program(form, parameters), to_program(plain_form, plain)
    for a, b in zip(ours.connections, theirs.connections, strict=True):
        assert (a.weight is None and b.weight is None) or np.array_equal(a.weight, b.weight)


def test_a_second_order_start_takes_its_range_along() -> None:
    network = recurrent()
    x = (np.random.default_rng(0).random((8, 20, *network.input_shape)) < 0.4).astype(np.uint8)
    programs = []
    for name in ("ewgs", "lsq"):
        form, parameters = started(network, name)
        programs.append(to_program(form, second_order_start(form, parameters, x)))
    for a, b in zip(programs[0].connections, programs[1].connections, strict=True):
        assert (a.weight is None and b.weight is None) or np.array_equal(a.weight, b.weight)


def test_half_the_range_doubles_the_levels_and_leaves_the_scale() -> None:
    network = recurrent()
    form, parameters = started(network, "ewgs")
    name = network.weighted[0].name
    narrow = {**parameters, RANGE + name: parameters[RANGE + name] - 1.0}
    before, after = to_program(form, parameters), to_program(form, narrow)
    weight = parameters[f"weight:{name}"]
    step = torch.exp2(narrow[RANGE + name]).reshape(-1, 1)
    expected = (weight / step).clamp(-3, 3).round()
    found = next(c for c in after.connections if c.name == name)
    assert np.array_equal(found.weight, expected.numpy())
    for a, b in zip(before.layers, after.layers, strict=True):
        assert np.array_equal(a.scale, b.scale)


def test_range_and_step_are_trained_apart() -> None:
    network = recurrent()
    form, parameters = started(network, "ewgs")
    leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    x = torch.as_tensor((np.random.default_rng(1).random((15, 4, *network.input_shape)) < 0.5).astype(np.uint8))
    phase = Phase(0.5, torch.Generator().manual_seed(0))
    run(prepare_quantized(form, leaves, phase), x, surrogate=Surrogate()).counts.square().sum().backward()
    ranges = [leaf for name, leaf in leaves.items() if name.startswith(RANGE)]
    scales = [leaf for name, leaf in leaves.items() if name.startswith("log2_scale:")]
    assert all(leaf.grad is not None and leaf.grad.abs().sum() > 0 for leaf in ranges)
    assert any(leaf.grad is not None and leaf.grad.abs().sum() > 0 for leaf in scales)
