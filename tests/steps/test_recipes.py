"""Every quantizing recipe on the small network: program, runtime and training simulation agree on all spikes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import runtime
from engine.network.model import Network
from engine.network.simulate import run
from engine.program.quantized import prepare_quantized, start_training, to_program
from engine.program.simulate import simulate_program
from engine.quantizers.registry import QUANTIZERS
from engine.run import Inputs
from engine.specs.plan import NeuronPlan, Plan, ShiftLeak, WeightPlan
from tests.program.networks import convolutional, recurrent
from tests.steps.small_job import go, section, write_inputs

QUICK: dict[str, Any] = {"finetune": {"epochs": 2, "batch_size": 16, "float_control": False}}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.mark.parametrize("recipe", ["hessian-paper", "lsq", "soft-sigmoid", "loihi-qat", "squat", "mint"])
def test_the_program_of_a_recipe_is_its_training_simulation(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    seen: dict[str, Any] = {}

    def remember(form: Any, parameters: Any) -> Any:
        seen["form"], seen["parameters"] = form, parameters
        return to_program(form, parameters)

    monkeypatch.setattr("engine.steps.integerize.to_program", remember)
    outcome = go(inputs, tmp_path, recipe=recipe, options=QUICK)
    assert section(outcome, "integerize").mismatched_spikes == 0
    x = (np.random.default_rng(0).random((8, 15, 12)) < 0.4).astype(np.uint8)
    with torch.no_grad():
        trained = run(
            prepare_quantized(seen["form"], seen["parameters"]), torch.as_tensor(x).swapaxes(0, 1), record="*"
        )
    trace = runtime.run(runtime.read_program(tmp_path / "program"), x, record=True)
    for name, spikes in trained.spikes.items():
        assert np.array_equal(spikes.numpy().swapaxes(0, 1), trace.spikes[name])
    needs = section(outcome, "integerize").multiplications
    assert (needs == ()) == (recipe == "mint")
    if recipe == "squat":
        assert {layer.state_bits for layer in seen["form"].plan.neurons.values()} == {8}


@pytest.mark.parametrize("name", sorted(QUANTIZERS))
@pytest.mark.parametrize("network", [recurrent(), convolutional()])
@pytest.mark.parametrize("bits", [2, 4])
def test_every_quantizer_is_hard_in_evaluation(name: str, network: Network, bits: int) -> None:
    plan = Plan(
        weights={c.name: WeightPlan(bits=bits, quantizer=name) for c in network.weighted},
        neurons={
            layer.name: NeuronPlan(state_bits=10, fraction_bits=6, range_thresholds=1.5, leak=ShiftLeak(k=2))
            for layer in network.layers
            if layer.decay_v.max() < 1
        },
    )
    form, parameters = start_training(network, plan, (0, 1))
    rng = np.random.default_rng(1)
    parameters = {
        key: value + 0.05 * torch.as_tensor(rng.normal(size=tuple(value.shape))) for key, value in parameters.items()
    }
    x = torch.as_tensor((rng.random((20, 4, *network.input_shape)) < 0.4).astype(np.uint8))
    with torch.no_grad():
        trained = run(prepare_quantized(form, parameters), x, record="*")
    program = to_program(form, parameters)
    found = simulate_program(program, x, ("*",))
    for layer, spikes in found.spikes.items():
        assert torch.equal(trained.spikes[layer], spikes)
        assert torch.equal(trained.states[layer].v, found.states[layer].v)
    if not QUANTIZERS[name].free_scale or name == "power_of_two":
        for made in program.layers:
            exponents = np.log2(made.scale.astype(np.float64))
            assert np.array_equal(exponents, np.round(exponents))


def test_a_state_takes_the_fraction_bits_that_its_range_leaves() -> None:
    network = recurrent()
    plan = Plan(
        weights={c.name: WeightPlan(bits=4, granularity="layer") for c in network.weighted},
        neurons={
            layer.name: NeuronPlan(state_bits=8, fraction_bits=7, range_thresholds=1.25) for layer in network.layers
        },
    )
    form, parameters = start_training(network, plan, (0, 1))
    program = to_program(form, parameters)
    for layer in program.layers:
        assert layer.fire_at is not None
        assert 128 / 2.5 / 1.01 - 1 <= layer.fire_at.max() <= 128 / 1.25 + 1  # between half and all of the range
