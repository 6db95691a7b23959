"""The contracted readout against the one that steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from engine.kernels.rules import FloatLeak, MulShiftLeak, NeuronRule, NoLeak, ShiftLeak
from engine.network import simulate
from engine.network.linear_readout import contract_readout
from engine.network.model import Connection, Flatten
from engine.network.simulate import Prepared, Stage, run
from engine.network.synapse import Synapse
from engine.specs.steps import Surrogate

D = torch.float64


def network(leak=None, gain=None, **rule) -> Prepared:
    generator = torch.Generator().manual_seed(0)
    fire = torch.tensor(1.0, dtype=D)
    hidden = Connection("a", "@input", "h", "linear", (2, 3), (5,), None, before=(Flatten(0, 1),))
    out = Connection("b", "h", "o", "linear", (5,), (4,), None)
    first = Synapse(hidden, torch.randn(5, 6, generator=generator, dtype=D), None, None)
    offset = torch.randn(4, generator=generator, dtype=D)
    second = Synapse(out, torch.randn(4, 5, generator=generator, dtype=D), offset, gain)
    li = NeuronRule(leak_v=leak or FloatLeak(torch.tensor(0.9, dtype=D)), **rule)
    stages = (
        Stage("h", (5,), NeuronRule(leak_v=NoLeak(), fire_at=fire, reset_sub=fire), (first,)),
        Stage("o", (4,), li, (second,)),
    )
    return Prepared(stages, ((0,), (1,)), "o", "membrane_sum", D, torch.device("cpu"))


@pytest.mark.parametrize("leak", [None, NoLeak(), FloatLeak(torch.tensor([0.3], dtype=D))])
@pytest.mark.parametrize("gain", [None, torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=D)])
def test_training_reads_the_same_sums_as_evaluation(leak, gain):
    prepared = network(leak, gain=gain)
    x = (torch.rand(20, 3, 2, 3, generator=torch.Generator().manual_seed(1)) < 0.4).to(torch.uint8)
    assert contract_readout(prepared.stages[1], torch.zeros(20, 3, 5, dtype=D), D) is not None
    torch.testing.assert_close(run(prepared, x, surrogate=Surrogate()).counts, run(prepared, x).counts)


@pytest.mark.parametrize(
    "rule",
    [
        dict(limit=(-1.0, 1.0)),
        dict(bias=torch.ones(4, dtype=D)),
        dict(start=torch.ones(4, dtype=D)),
        dict(leak=FloatLeak(torch.full((4,), 0.9, dtype=D))),
        dict(leak_i=NoLeak()),
        dict(fire_at=torch.ones((), dtype=D), reset_sub=torch.ones((), dtype=D)),
    ],
)
def test_what_is_not_linear_or_uniform_is_stepped(rule):
    prepared = network(**rule)
    assert contract_readout(prepared.stages[1], torch.zeros(20, 3, 5, dtype=D), D) is None


def test_gradients_are_those_of_stepping():
    prepared = network()
    x = (torch.rand(20, 3, 2, 3, generator=torch.Generator().manual_seed(1)) < 0.4).to(torch.uint8)
    results = []
    for leak in (torch.tensor(0.9, dtype=D), torch.full((4,), 0.9, dtype=D)):  # contracted, stepped
        weights = [s.synapses[0].weight.clone().requires_grad_() for s in prepared.stages]
        stages = tuple(
            replace(s, synapses=(replace(s.synapses[0], weight=w),))
            for s, w in zip(prepared.stages, weights, strict=True)
        )
        out = replace(stages[1], rule=replace(stages[1].rule, leak_v=FloatLeak(leak)))
        counts = run(replace(prepared, stages=(stages[0], out)), x, surrogate=Surrogate()).counts
        results.append(torch.autograd.grad(counts.square().sum(), weights))
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two)


def integer_gradients(limit, leak, monkeypatch=None):
    """Counts, and gradients of weights and bias, of an integer readout; stepped backwards with ``monkeypatch``."""
    if monkeypatch is not None:
        monkeypatch.setattr(simulate, "contract_gradient", lambda stage, spikes, membrane, total: total)
    generator = torch.Generator().manual_seed(2)
    bias = torch.tensor([3.0, -2.0, 0.0, 1.0], dtype=D, requires_grad=True)
    prepared = network(leak, gain=torch.tensor([8.0, 8.0, 16.0, 8.0], dtype=D), limit=limit, bias=bias)
    weights = [torch.randint(-7, 8, shape, generator=generator).to(D).requires_grad_() for shape in ((5, 6), (4, 5))]
    synapses = [
        replace(stage.synapses[0], weight=weight, bias=None)
        for stage, weight in zip(prepared.stages, weights, strict=True)
    ]
    stages = tuple(replace(s, synapses=(one,)) for s, one in zip(prepared.stages, synapses, strict=True))
    x = (torch.rand(20, 3, 2, 3, generator=torch.Generator().manual_seed(1)) < 0.4).to(torch.uint8)
    counts = run(replace(prepared, stages=stages), x, surrogate=Surrogate()).counts
    return counts.detach(), torch.autograd.grad((counts * torch.arange(1.0, 5.0, dtype=D)).sum(), [*weights, bias])


@pytest.mark.parametrize("leak", [NoLeak(), MulShiftLeak(torch.tensor(29.0, dtype=D), 5, "half_up"),
                                  ShiftLeak(torch.tensor(3.0, dtype=D), "floor")])  # fmt: skip
@pytest.mark.parametrize("limit", [(-32768.0, 32767.0), (-300.0, 299.0)])
def test_an_integer_readout_has_the_gradient_of_stepping_whether_it_saturates_or_not(limit, leak, monkeypatch):
    counts, ours = integer_gradients(limit, leak)
    expected, stepped = integer_gradients(limit, leak, monkeypatch)
    assert torch.equal(counts, expected)
    for one, two in zip(ours, stepped, strict=True):
        torch.testing.assert_close(one, two)


def test_only_a_readout_that_does_not_saturate_is_contracted(monkeypatch):
    taken = []
    original = simulate.contract_gradient

    def watched(stage, spikes, membrane, total):
        found = original(stage, spikes, membrane, total)
        taken.append(found is not total)
        return found

    monkeypatch.setattr(simulate, "contract_gradient", watched)
    for limit in ((-32768.0, 32767.0), (-300.0, 299.0)):
        integer_gradients(limit, NoLeak())
    assert taken == [True, False]
