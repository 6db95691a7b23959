"""The fast scan against its slow twin: values to the bit, gradients to rounding, over every rule."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch

from engine.kernels.neuron_scan import neuron_scan
from engine.kernels.rules import FloatLeak, MulShiftLeak, NeuronRule, NoLeak, ShiftLeak
from engine.kernels.step import SpikeGradient, neuron_step, start_state

RESETS = [
    dict(reset="subtract"),
    dict(reset="to_value"),
    dict(reset="none"),
    dict(reset="subtract", timing="next_step", order="before_leak"),
    dict(reset="subtract", timing="next_step", order="after_leak"),
    dict(reset="to_value", timing="next_step", order="before_leak"),
    dict(reset="to_value", timing="next_step", order="after_leak"),
    dict(reset="to_value", timing="next_step", order="after_leak", drop_input=True),
    dict(reset="subtract", timing="next_step", order="after_leak", drop_input=True),
    dict(reset="subtract", max_spikes=5),
    dict(reset="subtract", residue_raises=True),
]
EXTRAS = [
    dict(),
    dict(floor=torch.tensor(-1.5, dtype=torch.float64)),
    dict(compare="gt", bias="b"),
    dict(integer=True),
]


def make_rule(reset: dict[str, Any], extra: dict[str, Any], cuba: str | None) -> tuple[NeuronRule, list[torch.Tensor]]:
    extra = dict(extra)
    d = torch.float64
    integer = extra.pop("integer", False)
    unit = 64.0 if integer else 1.0
    fire = (torch.full((3,), 1.0, dtype=d) * unit).requires_grad_()
    sub = (
        (torch.full((3,), 0.9, dtype=d) * unit).round().requires_grad_()
        if integer
        else torch.full((3,), 0.9, dtype=d).requires_grad_()
    )
    leaves = [fire, sub]
    bias = None
    if extra.pop("bias", None):
        bias = torch.tensor([0.1, -0.1, 0.05], dtype=d).requires_grad_()
        leaves.append(bias)
    leak: Any = (
        MulShiftLeak(torch.tensor(59.0, dtype=d), 6, "half_up")
        if integer
        else FloatLeak(torch.tensor([0.9, 0.8, 0.95], dtype=d))
    )
    leak_i: Any = None
    if cuba:
        leak_i = ShiftLeak(torch.tensor(2.0, dtype=d), "floor") if integer else FloatLeak(torch.tensor(0.7, dtype=d))
    bias_i = None
    if cuba:
        bias_i = torch.tensor([3.0, -2.0, 1.0] if integer else [0.03, -0.02, 0.01], dtype=d).requires_grad_()
        leaves.append(bias_i)
    rule = NeuronRule(
        leak_v=leak, leak_i=leak_i, bias=bias, bias_i=bias_i, fire_at=fire, reset_sub=sub,
        reset_to=torch.tensor(0.25 if not integer else 3.0, dtype=d), limit=(-90.0, 90.0) if integer else None,
        current=cuba or "new", **reset, **extra,
    )  # fmt: skip
    return rule, leaves


def run_slow(current, rule, recurrent, gradient):
    state = start_state(rule, current[0])
    spikes, membranes = [], []
    for acc in current.unbind(0):
        if recurrent is not None:
            acc = acc + state.n @ recurrent.T
        state = neuron_step(rule, state, acc, gradient)
        spikes.append(state.n)
        membranes.append(state.v)
    return torch.stack(spikes), torch.stack(membranes)


@pytest.mark.parametrize("through", [True, False])
@pytest.mark.parametrize("cuba", [None, "new", "old"])
@pytest.mark.parametrize(("reset", "extra"), list(itertools.product(RESETS, EXTRAS)))
def test_scan_equals_its_twin(reset, extra, cuba, through):
    if reset.get("drop_input") and extra.get("floor") is not None:
        extra = {}
    generator = torch.Generator().manual_seed(3)
    rule, leaves = make_rule(reset, extra, cuba)
    unit = 64.0 if extra.get("integer") else 1.0
    current = (torch.randn(25, 4, 3, generator=generator, dtype=torch.float64) * 0.5 + 0.2) * unit
    recurrent = torch.randn(3, 3, generator=generator, dtype=torch.float64) * 0.3 * unit
    if extra.get("integer"):
        current, recurrent = current.round(), recurrent.round()
    current.requires_grad_()
    recurrent.requires_grad_()
    leaves = [current, recurrent, *leaves]
    gradient = SpikeGradient(slope=3.0, through_reset=through)
    fast = neuron_scan(current, rule, recurrent=recurrent, gradient=gradient, keep_membrane=True)
    slow_spikes, slow_membrane = run_slow(current, rule, recurrent, gradient)
    assert torch.equal(fast.spikes, slow_spikes)
    if extra.get("integer"):
        assert torch.equal(fast.membrane, slow_membrane)
    torch.testing.assert_close(fast.membrane, slow_membrane, rtol=1e-12, atol=1e-12)
    assert fast.spikes.mean() > 0.02
    assert fast.spikes.max() <= rule.max_spikes
    plain = neuron_scan(current.detach(), rule, recurrent=recurrent.detach(), keep_membrane=True)
    assert torch.equal(plain.spikes, slow_spikes)
    # to the bit but for the recurrent product, which the twin adds up after rounding it
    tolerance = 0.0 if extra.get("integer") else 1e-12
    torch.testing.assert_close(plain.membrane, slow_membrane.detach(), rtol=tolerance, atol=tolerance)
    weight_s = torch.randn(fast.spikes.shape, generator=generator, dtype=torch.float64)
    weight_v = torch.randn(fast.spikes.shape, generator=generator, dtype=torch.float64) * 0.1
    got = torch.autograd.grad(
        (fast.spikes * weight_s).sum() + (fast.membrane * weight_v).sum(), leaves, allow_unused=True
    )
    want = torch.autograd.grad(
        (slow_spikes * weight_s).sum() + (slow_membrane * weight_v).sum(), leaves, allow_unused=True
    )
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(
            torch.zeros(1) if g is None else g, torch.zeros_like(g) if w is None else w, rtol=1e-9, atol=1e-9
        )


def test_no_gradient_gives_the_same_values():
    rule = NeuronRule(leak_v=NoLeak(), fire_at=torch.tensor(1.0), reset_sub=torch.tensor(1.0))
    current = torch.rand(10, 2, 3, generator=torch.Generator().manual_seed(0))
    with_gradient = neuron_scan(current, rule, gradient=SpikeGradient(3.0))
    assert torch.equal(neuron_scan(current, rule).spikes, with_gradient.spikes)


def test_recurrent_weights_need_one_neuron_axis():
    rule = NeuronRule(leak_v=NoLeak(), fire_at=torch.tensor(1.0), reset_sub=torch.tensor(1.0))
    with pytest.raises(ValueError, match=r"\[time, batch, neuron\], got \(2, 1, 3, 3\)"):
        neuron_scan(torch.zeros(2, 1, 3, 3), rule, recurrent=torch.zeros(3, 3))


@pytest.mark.parametrize("cuba", [None, "new", "old"])
@pytest.mark.parametrize(("reset", "extra"), list(itertools.product(RESETS, EXTRAS)))
def test_values_alone_are_the_twins_to_the_bit(reset, extra, cuba):
    rule, _ = make_rule(reset, extra, cuba)
    scale = 64.0 if extra.get("integer") else 1.0
    current = (
        torch.randn(40, 4, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * 0.6 + 0.2
    ) * scale
    current = current.round() if extra.get("integer") else current
    whole = replace(rule, bias_i=None)
    fast = neuron_scan(current, whole, keep_membrane=True)
    with torch.no_grad():
        spikes, membrane = run_slow(current, whole, None, None)
    assert torch.equal(fast.spikes, spikes)
    assert torch.equal(fast.membrane, membrane)
    assert torch.equal(fast.final.v, membrane[-1])
    assert not (fast.spikes.signbit()).any()


def test_the_number_of_threads_is_given_back():
    rule = NeuronRule(leak_v=NoLeak(), fire_at=torch.tensor(1.0), reset_sub=torch.tensor(1.0))
    before = torch.get_num_threads()
    neuron_scan(torch.rand(3, 2, 3), rule)
    assert torch.get_num_threads() == before
