"""One step of one neuron layer, in the normative order of DESIGN 5, written with differentiable operations.

This is the slow, obvious form: autograd differentiates it. :mod:`engine.kernels.neuron_scan` is the fast twin that
tests compare with it, value by value and gradient by gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.kernels.rules import Leak, NeuronRule


@dataclass(frozen=True)
class SpikeGradient:
    """How spikes and resets are differentiated; None of it changes a value.

    ``slope`` is k of the arctan surrogate ``1/(1+(k·(v−θ)/θ)²)/θ``; ``through_reset`` keeps the reset's own
    dependence on the spike (QUALITY finding 2).
    """

    slope: float
    through_reset: bool = True


@dataclass(frozen=True)
class NeuronState:
    """State between steps, each ``[batch, neuron...]``: membrane, current (None: not current-based), last spikes."""

    v: Tensor
    i: Tensor | None
    n: Tensor


def start_state(rule: NeuronRule, like: Tensor) -> NeuronState:
    """State before the first step, shaped like one step's input ``[batch, neuron...]``."""
    zero = torch.zeros_like(like)
    v = zero if rule.start is None else zero + rule.start
    return NeuronState(v, zero if rule.leak_i is not None else None, zero)


def neuron_step(rule: NeuronRule, state: NeuronState, acc: Tensor, gradient: SpikeGradient | None) -> NeuronState:
    """Advance one step.

    Args:
        rule: the neurons.
        state: before the step.
        acc: the step's synaptic sum ``[batch, neuron...]``, in units of the membrane.
        gradient: how to differentiate; None computes values alone.

    Returns:
        The state after the step; its ``n`` are the step's spikes.
    """
    through = gradient is None or gradient.through_reset
    before = state.n if through else state.n.detach()
    v = state.v
    if rule.resets != "none" and rule.order == "before_leak":
        v = reset_by(rule, v, before)
    i = None
    if rule.leak_i is not None and state.i is not None:
        i = _leak(rule.leak_i, state.i) + acc
        i = _saturate(rule, i if rule.bias_i is None else i + rule.bias_i)
    w = _leak(rule.leak_v, v)
    if rule.resets != "none" and rule.order == "after_leak":
        w = reset_by(rule, w, before)
    drive = acc if i is None else (i if rule.current == "new" else needed(state.i))
    v = w + drive if rule.bias is None else w + drive + rule.bias
    v = _saturate(rule, v)
    if rule.drop_input and rule.resets != "none":
        v = _to_value(rule, v, before)
    if rule.floor is not None:
        exact = torch.maximum(v.detach(), rule.floor)
        v = _exact(v * (exact > rule.floor), exact) if v.requires_grad else exact
    if rule.fire_at is None:
        return NeuronState(v, i, state.n)
    tested = v
    if rule.residue_raises:  # the reset that snnTorch makes before the test and undoes after it; never differentiated
        tested = v - ((state.v.detach() > rule.fire_at) * needed(rule.reset_sub)).detach()
    n = count_spikes(rule, tested, gradient)
    if rule.resets != "none" and rule.timing == "same_step":
        v = reset_by(rule, v, n if through else n.detach())
        if rule.limit is not None:  # only a reset can leave the range here: what rests on its edge passes
            v = torch.clamp(v, *rule.limit)
    return NeuronState(v, i, n)


def count_spikes(rule: NeuronRule, v: Tensor, gradient: SpikeGradient | None) -> Tensor:
    """Spikes of this step, 0 to ``max_spikes`` each."""
    if gradient is None:
        return spikes_of(rule, v)
    spikes: Tensor = _Spike.apply(v, rule.fire_at, rule, gradient.slope)  # type: ignore[no-untyped-call]
    return spikes


def spikes_of(rule: NeuronRule, v: Tensor) -> Tensor:
    """DESIGN 5 step 6, without gradient: ``min(n_max, 1 + (v − fire_at) div reset_sub)`` at or above threshold."""
    fire_at = needed(rule.fire_at)
    fires = (v > fire_at) if rule.compare == "gt" else (v >= fire_at)
    if rule.max_spikes == 1:
        return fires.to(v.dtype)
    extra = torch.floor((v - fire_at) / needed(rule.reset_sub))
    return torch.where(fires, torch.clamp(1.0 + extra, max=float(rule.max_spikes)), torch.zeros_like(v))


def surrogate_of(rule: NeuronRule, v: Tensor, slope: float) -> Tensor:
    """The stand-in for dn/dv: arctan round the threshold, with several spikes a step round the nearest level."""
    fire_at = needed(rule.fire_at)
    distance = v - fire_at
    scale = fire_at.abs() if rule.reset_sub is None else rule.reset_sub.abs()
    if rule.max_spikes > 1:
        step = needed(rule.reset_sub)
        level = torch.clamp(torch.round(distance / step), min=0.0, max=float(rule.max_spikes - 1))
        distance = distance - level * step
    return 1.0 / ((1.0 + (slope / scale * distance).square()) * scale)


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, fire_at: Tensor, rule: NeuronRule, slope: float) -> Tensor:
        ctx.save_for_backward(v)
        ctx.rule, ctx.slope, ctx.threshold_shape = rule, slope, fire_at.shape
        return spikes_of(rule, v)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (v,) = ctx.saved_tensors
        g = grad * surrogate_of(ctx.rule, v, ctx.slope)
        return g, -g.sum_to_size(ctx.threshold_shape), None, None


class _Exact(torch.autograd.Function):
    """The value of one tensor with the gradient of another: straight-through without rounding."""

    @staticmethod
    def forward(ctx: Any, smooth: Tensor, exact: Tensor) -> Tensor:
        return exact.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def _exact(smooth: Tensor, exact: Tensor) -> Tensor:
    value: Tensor = _Exact.apply(smooth, exact)  # type: ignore[no-untyped-call]
    return value


def _leak(leak: Leak, state: Tensor) -> Tensor:
    if not state.requires_grad:
        return leak.apply(state)
    return _exact(state * leak.slope, leak.apply(state.detach()))


def reset_by(rule: NeuronRule, v: Tensor, n: Tensor) -> Tensor:
    """The membrane after the reset that these spikes bring."""
    if rule.reset == "subtract":
        return v - n * needed(rule.reset_sub)
    return _to_value(rule, v, n)


def _to_value(rule: NeuronRule, v: Tensor, n: Tensor) -> Tensor:
    exact = torch.where(n > 0, needed(rule.reset_to), v)
    if not (v.requires_grad or n.requires_grad):
        return exact
    return _exact(v + torch.clamp(n, max=1.0) * (needed(rule.reset_to) - v), exact.detach())


def _saturate(rule: NeuronRule, v: Tensor) -> Tensor:
    """Clamp to the state's range; the gradient passes strictly inside it."""
    if rule.limit is None:
        return v
    low, high = rule.limit
    exact = v.detach().clamp(low, high)
    return _exact(v * ((exact > low) & (exact < high)), exact) if v.requires_grad else exact


def needed(tensor: Tensor | None) -> Tensor:
    """The tensor, or a ValueError where the rule lacks one that its reset or spike test needs."""
    if tensor is None:
        raise ValueError("the neuron rule lacks a value that its reset or spike test needs")
    return tensor
