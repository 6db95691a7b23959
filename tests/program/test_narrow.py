"""Float32 states where that is provably exact, float64 where it is not; the numbers are the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.kernels.rules import NeuronRule
from engine.network.simulate import Prepared, run
from engine.program import quantized
from engine.program.quantized import prepare_quantized, start_training
from engine.specs.steps import Surrogate
from tests.program.networks import convolutional, plan_of, recurrent

NETWORKS = [recurrent(), recurrent(readout="membrane_sum"), convolutional("nir-paper")]


@pytest.mark.parametrize("network", NETWORKS)
def test_float32_states_change_no_number(network, monkeypatch):
    form, parameters = start_training(network, plan_of(network), (0, 1))
    x = torch.as_tensor((np.random.default_rng(0).random((40, 5, *network.input_shape)) < 0.4).astype(np.uint8))

    def outcome() -> tuple[Prepared, torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
        leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
        prepared = prepare_quantized(form, leaves)
        trace = run(prepared, x, surrogate=Surrogate(), record="*")
        grads = torch.autograd.grad(trace.counts.square().sum(), list(leaves.values()), allow_unused=True)
        states = [*trace.spikes.values(), *(state.v for state in trace.states.values())]
        return prepared, trace.counts, states, [g for g in grads if g is not None]

    narrow, counts, states, grads = outcome()
    monkeypatch.setattr(quantized, "narrow", lambda prepared, highest: prepared)
    wide, wide_counts, wide_states, wide_grads = outcome()
    assert (narrow.dtype, wide.dtype) == (torch.float32, torch.float64)
    assert torch.equal(counts.double(), wide_counts)
    for one, two in zip(states, wide_states, strict=True):
        assert torch.equal(one.double(), two)
    for one, two in zip(grads, wide_grads, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3 * float(two.abs().max()))


def test_wide_states_and_large_values_stay_in_float64():
    network = recurrent()
    form, parameters = start_training(network, plan_of(network, state_bits=26), (0, 1))
    assert prepare_quantized(form, parameters).dtype == torch.float64
    form, parameters = start_training(network, plan_of(network), (0, 300_000))
    assert prepare_quantized(form, parameters).dtype == torch.float64, "the sums are too large"
    form, parameters = start_training(network, plan_of(network), (0, 1))
    prepared = prepare_quantized(form, parameters)
    assert prepared.dtype == torch.float32
    stage = prepared.stages[0]
    rule: NeuronRule = replace(stage.rule, bias=torch.tensor(2.0**23))
    from engine.program.narrow import narrow

    again = replace(prepared, stages=(replace(stage, rule=rule), *prepared.stages[1:]), dtype=torch.float64)
    highest = {synapse.connection.name: 1 for s in prepared.stages for synapse in s.synapses}
    assert narrow(again, highest) is again, "the bias is too large"
