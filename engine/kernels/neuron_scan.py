"""All time steps of one neuron layer, with its own recurrent weights, and a hand-written backward through time.

Twin of repeating :func:`engine.kernels.step.neuron_step`; several times faster because no graph is recorded. Axes:
currents, spikes and membranes ``[time, batch, neuron...]``. With recurrent weights the neuron axes are one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from engine.kernels.plain_scan import few_threads, plain_scan
from engine.kernels.rules import NeuronRule
from engine.kernels.step import (
    NeuronState,
    SpikeGradient,
    needed,
    neuron_step,
    spikes_of,
    start_state,
    surrogate_of,
)


@dataclass(frozen=True)
class ScanResult:
    """Spikes ``[time, batch, neuron...]``, the membrane after every step (None: not asked) and the final state."""

    spikes: Tensor
    membrane: Tensor | None
    final: NeuronState


def neuron_scan(
    current: Tensor,
    rule: NeuronRule,
    *,
    recurrent: Tensor | None = None,
    gradient: SpikeGradient | None = None,
    keep_membrane: bool = False,
) -> ScanResult:
    """Run a layer over all steps.

    Args:
        current: synaptic sums from outside the layer ``[time, batch, neuron...]``, in units of the membrane.
        rule: the neurons; ``bias``, ``fire_at`` and ``reset_sub`` may require gradients.
        recurrent: weights ``[neuron, neuron]`` (to, from) on the layer's spikes of the step before.
        gradient: how to differentiate; None: values alone, nothing is saved.
        keep_membrane: also return the membrane after every step.

    Raises:
        ValueError: recurrent weights for a layer with several neuron axes.
    """
    if recurrent is not None and current.dim() != 3:
        raise ValueError(f"recurrent weights need currents [time, batch, neuron], got {tuple(current.shape)}")
    if rule.bias_i is not None:  # once for all steps instead of in each
        current, rule = current + rule.bias_i, replace(rule, bias_i=None)
    if rule.residue_raises:
        return _scan_by_steps(current, rule, recurrent, gradient, keep_membrane)
    if gradient is None:
        return ScanResult(*plain_scan(current, rule, recurrent, keep_membrane))
    outputs = _Scan.apply(  # type: ignore[no-untyped-call]
        current, recurrent, rule.bias, rule.fire_at, rule.reset_sub, rule, gradient, keep_membrane
    )
    spikes, membrane, v, i = outputs
    return ScanResult(spikes, membrane, NeuronState(v, i, spikes[-1]))


def _scan_by_steps(
    current: Tensor, rule: NeuronRule, recurrent: Tensor | None, gradient: SpikeGradient | None, keep_membrane: bool
) -> ScanResult:
    """The twin itself, for the one rule that the fast forms lack; autograd differentiates it."""
    state = start_state(rule, current[0])
    spikes, membranes = [], []
    for acc in current.unbind(0):
        state = neuron_step(rule, state, acc if recurrent is None else torch.addmm(acc, state.n, recurrent.T), gradient)
        spikes.append(state.n)
        membranes.append(state.v)
    return ScanResult(torch.stack(spikes), torch.stack(membranes) if keep_membrane else None, state)


@dataclass
class _Saved:
    """What the backward pass needs, each ``[time, batch, neuron...]``.

    ``n`` spikes, ``u`` the membrane before the spike's reset, ``i`` the current (None: not current-based, or never
    saturated), ``raw`` the membrane before a dropped input replaced it (None: inputs are not dropped).
    """

    n: Tensor
    u: Tensor
    i: Tensor | None
    raw: Tensor | None
    stays_inside: bool = False  # a reset provably cannot leave the state's range


def _forward_saving(
    current: Tensor, rule: NeuronRule, recurrent: Tensor | None, keep_membrane: bool
) -> tuple[_Saved, Tensor | None, NeuronState]:
    """:func:`neuron_step` without autograd (DESIGN 5, same order), keeping what the backward needs."""
    limited, drops = rule.limit is not None, rule.drop_input and rule.resets != "none"
    saved = _Saved(
        n=torch.zeros_like(current),
        u=torch.empty_like(current),
        i=torch.empty_like(current) if limited and rule.leak_i is not None else None,
        raw=torch.empty_like(current) if drops else None,
        stays_inside=_resets_inside(rule),
    )
    membrane = torch.empty_like(current) if keep_membrane else None
    state = start_state(rule, current[0])
    for t, acc in enumerate(current.unbind(0)):
        if recurrent is not None:
            acc = torch.addmm(acc, state.n, recurrent.T)
        state = _step_saving(rule, state, acc, saved, t)
        if membrane is not None:
            membrane[t] = state.v
    return saved, membrane, state


def _step_saving(rule: NeuronRule, state: NeuronState, acc: Tensor, saved: _Saved, t: int) -> NeuronState:
    v, i = state.v, None
    if rule.order == "before_leak":
        v = _reset(rule, v, state.n)
    if rule.leak_i is not None:
        i = rule.leak_i.apply(needed(state.i)) + acc
        if saved.i is not None and rule.limit is not None:
            i = torch.clamp(i, *rule.limit, out=saved.i[t])
    w = rule.leak_v.apply(v)
    if rule.order == "after_leak":
        w = _reset(rule, w, state.n)
    w = w + (acc if i is None else i if rule.current == "new" else needed(state.i))
    if rule.bias is not None:
        w.add_(rule.bias)
    u = saved.u[t]
    if saved.raw is not None:
        saved.raw[t] = w if rule.limit is None else w.clamp_(*rule.limit)
        u.copy_(torch.where(state.n > 0, needed(rule.reset_to), w))
    elif rule.limit is not None:
        torch.clamp(w, *rule.limit, out=u)
    else:
        u.copy_(w)
    if rule.floor is not None:
        torch.maximum(u, rule.floor, out=u)
    if rule.fire_at is None:
        return NeuronState(u, i, state.n)
    n = saved.n[t]
    if rule.max_spikes > 1:
        n.copy_(spikes_of(rule, u))
    else:
        (torch.gt if rule.compare == "gt" else torch.ge)(u, rule.fire_at, out=n)
    if rule.timing == "next_step" or rule.resets == "none":
        return NeuronState(u, i, n)
    v = _reset(rule, u, n)
    return NeuronState(v if rule.limit is None or saved.stays_inside else v.clamp_(*rule.limit), i, n)


def _reset(rule: NeuronRule, v: Tensor, n: Tensor) -> Tensor:
    if rule.resets == "subtract":
        return torch.addcmul(v, n, needed(rule.reset_sub), value=-1)
    return v if rule.resets == "none" else torch.where(n > 0, needed(rule.reset_to), v)


def _resets_inside(rule: NeuronRule) -> bool:
    """A reset by subtraction ends at or above ``fire_at − reset_sub``: is that within the range."""
    if rule.limit is None or rule.fire_at is None or rule.resets != "subtract":
        return False
    return bool((rule.fire_at - needed(rule.reset_sub)).min() >= rule.limit[0])


def _inside(rule: NeuronRule, saved: _Saved) -> tuple[Tensor | None, Tensor | None]:
    """Where gradients pass: membrane and current strictly within the state's range and above the floor."""
    if rule.limit is None and rule.floor is None:
        return None, None
    low, high = rule.limit if rule.limit is not None else (-torch.inf, torch.inf)
    value = saved.u if saved.raw is None else saved.raw
    pass_v = (value > low) & (value < high)
    if rule.floor is not None:
        pass_v &= saved.u > rule.floor
    pass_i = None if saved.i is None else ((saved.i > low) & (saved.i < high)).to(saved.u.dtype)
    return pass_v.to(saved.u.dtype), pass_i


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        recurrent: Tensor | None,
        bias: Tensor | None,
        fire_at: Tensor | None,
        reset_sub: Tensor | None,
        rule: NeuronRule,
        gradient: SpikeGradient,
        keep_membrane: bool,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
        with few_threads(current[0].numel()):
            saved, membrane, final = _forward_saving(current, rule, recurrent, keep_membrane)
        pass_v, pass_i = _inside(rule, saved)
        ctx.save_for_backward(saved.n, saved.u, saved.raw, pass_v, pass_i, recurrent)
        ctx.rule, ctx.gradient = rule, gradient
        ctx.shapes = tuple(None if t is None else t.shape for t in (bias, fire_at, reset_sub))
        return saved.n, membrane, final.v.clone(), final.i

    @staticmethod
    def backward(ctx: Any, g_spikes: Tensor, g_membrane: Tensor | None, *_: Any) -> tuple[Any, ...]:
        spikes, u, raw, pass_v, pass_i, recurrent = ctx.saved_tensors
        walk = _Backward(ctx.rule, ctx.gradient, spikes, u, raw, pass_v, pass_i, recurrent)
        walk.run(g_spikes, g_membrane if ctx.needs_input_grad[7] or g_membrane is not None else None)
        g_current = walk.g_current
        g_recurrent = None
        if recurrent is not None and ctx.needs_input_grad[1]:
            late = g_current[1:].flatten(0, 1)  # [(time−1)·batch, neuron]
            g_recurrent = late.T @ spikes[:-1].flatten(0, 1)
        grads = [
            None if shape is None or not needed else total.sum_to_size(shape)
            for shape, needed, total in zip(
                ctx.shapes, ctx.needs_input_grad[2:5], (walk.g_bias, walk.g_fire, walk.g_sub), strict=True
            )
        ]
        return g_current, g_recurrent, *grads, None, None, None


class _Backward:
    """Backward through time of one layer; one call of :meth:`run` walks all steps from the last to the first."""

    def __init__(
        self,
        rule: NeuronRule,
        gradient: SpikeGradient,
        spikes: Tensor,
        u: Tensor,
        raw: Tensor | None,
        pass_v: Tensor | None,
        pass_i: Tensor | None,
        recurrent: Tensor | None,
    ) -> None:
        self.rule, self.gradient, self.recurrent = rule, gradient, recurrent
        self.n, self.u = spikes.unbind(0), u.unbind(0)
        self.raw = None if raw is None else raw.unbind(0)
        self.pass_v = None if pass_v is None else pass_v.unbind(0)
        self.pass_i = None if pass_i is None else pass_i.unbind(0)
        # with subtraction the surrogate of all steps is elementwise: one call
        self.surrogate = None if rule.fire_at is None else surrogate_of(rule, u, gradient.slope).unbind(0)
        self.g_current, self.g_spike = torch.empty_like(u), torch.empty_like(u)
        zero = torch.zeros_like(self.u[0])
        self.g_bias, self.g_sub, self.g_fire = zero, zero.clone(), zero

    def run(self, g_spikes: Tensor, g_membrane: Tensor | None) -> None:
        zero = torch.zeros_like(self.u[0])
        g_v, g_i, g_n = zero, zero, zero
        outer = g_spikes.unbind(0)
        membranes = None if g_membrane is None else g_membrane.unbind(0)
        for t in range(len(self.u) - 1, -1, -1):
            if membranes is not None:
                g_v = g_v + membranes[t]
            g_u = self._spike_and_reset(t, g_v, g_n + outer[t])
            g_n = zero
            if self.raw is not None and t > 0:
                g_u, g_n = self._dropped(t, g_u)
            if self.pass_v is not None:
                g_u = g_u * self.pass_v[t]
            if self.rule.bias is not None:
                self.g_bias += g_u
            g_acc, g_i = self._current(t, g_u, g_i)
            if t > 0:
                g_v, g_n = self._leak_and_delayed_reset(t, g_u, g_n)
                if self.recurrent is not None:
                    g_n = torch.addmm(g_n, g_acc, self.recurrent)
        self.g_fire = -self.g_spike.sum(0) if self.surrogate is not None else zero

    def _spike_and_reset(self, t: int, g_v: Tensor, g_n: Tensor) -> Tensor:
        rule, n = self.rule, self.n[t]
        if self.surrogate is None:
            return g_v
        g_u = g_v
        if rule.timing == "same_step" and rule.resets == "subtract":
            self.g_sub.addcmul_(g_v, n, value=-1)
            if self.gradient.through_reset:
                g_n = torch.addcmul(g_n, g_v, needed(rule.reset_sub), value=-1)
        elif rule.timing == "same_step" and rule.resets == "to_value":
            g_u = torch.where(n > 0, 0.0, g_v)
            if self.gradient.through_reset:
                g_n = g_n + g_v * (needed(rule.reset_to) - self.u[t])
        g_spike = torch.mul(g_n, self.surrogate[t], out=self.g_spike[t])
        return g_u + g_spike

    def _dropped(self, t: int, g_u: Tensor) -> tuple[Tensor, Tensor]:
        before = self.n[t - 1]
        g_n = torch.zeros_like(g_u)
        if self.gradient.through_reset and self.raw is not None:
            g_n = g_u * (needed(self.rule.reset_to) - self.raw[t])
        return torch.where(before > 0, 0.0, g_u), g_n

    def _current(self, t: int, g_u: Tensor, g_i: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient of the synaptic sum of step t, and of the current of step t−1."""
        rule = self.rule
        g_acc = self.g_current[t]
        if rule.leak_i is None:
            return g_acc.copy_(g_u), g_i
        if rule.current == "new":
            g_i = g_i + g_u
        g_acc.copy_(g_i) if self.pass_i is None else torch.mul(g_i, self.pass_i[t], out=g_acc)
        g_before = g_acc * rule.leak_i.slope
        return g_acc, g_before if rule.current == "new" else g_before + g_u

    def _leak_and_delayed_reset(self, t: int, g_w: Tensor, g_n: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of membrane and spikes at the end of step t−1."""
        rule, before, end = self.rule, self.n[t - 1], self.u[t - 1]
        if rule.order is None or rule.resets == "none":
            return g_w * rule.leak_v.slope, g_n
        late = rule.order == "after_leak"
        g = g_w if late else g_w * rule.leak_v.slope
        if rule.resets == "subtract":
            self.g_sub.addcmul_(g, before, value=-1)
            if self.gradient.through_reset:
                g_n = torch.addcmul(g_n, g, needed(rule.reset_sub), value=-1)
            return g * rule.leak_v.slope if late else g, g_n
        if self.gradient.through_reset:
            g_n = g_n + g * (needed(rule.reset_to) - (rule.leak_v.apply(end) if late else end))
        g = torch.where(before > 0, 0.0, g)
        return g * rule.leak_v.slope if late else g, g_n
