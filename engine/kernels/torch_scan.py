"""The scan with its backward through time in plain torch: the native scan's twin, and its fallback.

Several times faster than autograd through :func:`engine.kernels.step.neuron_step`, because no graph is recorded.
Products and sums are rounded one by one, in the native scan's order, so that both give the same numbers.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from engine.kernels.plain_scan import few_threads, plain_scan
from engine.kernels.rules import NeuronRule
from engine.kernels.scan_types import (
    Saved,
    ScanGradients,
    ScanInput,
    ScanOutput,
    recurrent_gradient,
    saves_inside,
    saves_raw,
)
from engine.kernels.step import NeuronState, SpikeGradient, needed, spikes_of, start_state, surrogate_of


def forward(given: ScanInput, rule: NeuronRule, *, keep_membrane: bool, saving: bool) -> ScanOutput:
    """All steps of a layer (DESIGN 5); ``saving`` keeps what :func:`backward` needs."""
    current = given.current.to(given.dtype)
    if given.gain is not None:
        current = current * given.gain
    if rule.bias_i is not None:  # once for all steps instead of in each
        current, rule = current + rule.bias_i, replace(rule, bias_i=None)
    if not saving:
        spikes, membrane, state = plain_scan(current, rule, given.recurrent, keep_membrane)
        return ScanOutput(spikes, membrane, state.v, state.i, None)
    with few_threads(current[0].numel()):
        return _forward_saving(current, rule, given.recurrent, keep_membrane)


def backward(
    given: ScanInput,
    rule: NeuronRule,
    gradient: SpikeGradient,
    saved: Saved,
    g_spikes: Tensor | None,
    g_membrane: Tensor | None,
    *,
    recurrent_wanted: bool,
) -> ScanGradients:
    """Gradients of everything that flowed into :func:`forward`, from those of spikes and membranes."""
    with few_threads(saved.u[0].numel()):
        walk = _Backward(rule, gradient, saved, given.recurrent)
        walk.run(g_spikes, g_membrane)
    g_recurrent = None
    if recurrent_wanted:
        g_recurrent = recurrent_gradient(walk.g_acc, spikes_of(rule, saved.u))
    g_current = walk.g_acc if given.gain is None else walk.g_acc * given.gain
    return ScanGradients(
        g_current.to(given.current.dtype), g_recurrent, walk.g_bias, walk.g_bias_i, walk.g_fire, walk.g_sub
    )


def _forward_saving(current: Tensor, rule: NeuronRule, recurrent: Tensor | None, keep_membrane: bool) -> ScanOutput:
    spikes = torch.zeros_like(current)
    membrane = torch.empty_like(current) if keep_membrane else None
    saved = Saved(
        u=torch.empty_like(current),
        raw=torch.empty_like(current) if saves_raw(rule) else None,
        inside=torch.empty(current.shape, dtype=torch.bool) if saves_inside(rule) else None,
    )
    state = start_state(rule, current[0])
    for t, acc in enumerate(current.unbind(0)):
        if recurrent is not None:
            acc = torch.addmm(acc, state.n, recurrent.T)
        state = _step_saving(rule, state, acc, spikes[t], saved, t)
        if membrane is not None:
            membrane[t] = state.v
    return ScanOutput(spikes, membrane, state.v.clone(), state.i, saved)


def _step_saving(rule: NeuronRule, state: NeuronState, acc: Tensor, n: Tensor, saved: Saved, t: int) -> NeuronState:
    v, i = state.v, None
    if rule.order == "before_leak":
        v = _reset(rule, v, state.n)
    if rule.leak_i is not None:
        i = rule.leak_i.apply(needed(state.i)) + acc
        if saved.inside is not None and rule.limit is not None:
            i.clamp_(*rule.limit)
            torch.logical_and(i > rule.limit[0], i < rule.limit[1], out=saved.inside[t])
    w = rule.leak_v.apply(v)
    if rule.order == "after_leak":
        w = _reset(rule, w, state.n)
    w = w + (acc if i is None else i if rule.current == "new" else needed(state.i))
    if rule.bias is not None:
        w.add_(rule.bias)
    if rule.limit is not None:
        w.clamp_(*rule.limit)
    u = saved.u[t]
    if saved.raw is not None:
        saved.raw[t] = w
        u.copy_(torch.where(state.n > 0, needed(rule.reset_to), w))
    else:
        u.copy_(w)
    if rule.floor is not None:
        torch.maximum(u, rule.floor, out=u)
    if rule.fire_at is None:
        return NeuronState(u, i, state.n)
    n.copy_(spikes_of(rule, u))
    if rule.timing == "next_step" or rule.resets == "none":
        return NeuronState(u, i, n)
    v = _reset(rule, u, n)
    return NeuronState(v if rule.limit is None else v.clamp_(*rule.limit), i, n)


def _reset(rule: NeuronRule, v: Tensor, n: Tensor) -> Tensor:
    if rule.resets == "subtract":
        return v - n * needed(rule.reset_sub)
    return v if rule.resets == "none" else torch.where(n > 0, needed(rule.reset_to), v)


def _inside(rule: NeuronRule, saved: Saved) -> Tensor | None:
    """Where gradients pass: the membrane strictly within the state's range and above the floor."""
    inside = None
    if rule.limit is not None:
        value = saved.u if saved.raw is None else saved.raw
        inside = (value > rule.limit[0]) & (value < rule.limit[1])
    if rule.floor is not None:
        above = saved.u > rule.floor
        inside = above if inside is None else inside & above
    return None if inside is None else inside.to(saved.u.dtype)


class _Backward:
    """Backward through time of one layer; one call of :meth:`run` walks all steps from the last to the first."""

    def __init__(self, rule: NeuronRule, gradient: SpikeGradient, saved: Saved, recurrent: Tensor | None) -> None:
        self.rule, self.gradient, self.recurrent = rule, gradient, recurrent
        u = saved.u
        self.u = u.unbind(0)
        self.raw = None if saved.raw is None else saved.raw.unbind(0)
        pass_v = _inside(rule, saved)
        self.pass_v = None if pass_v is None else pass_v.unbind(0)
        self.pass_i = None if saved.inside is None else saved.inside.to(u.dtype).unbind(0)
        # both are elementwise: one call for all steps
        self.surrogate = None if rule.fire_at is None else surrogate_of(rule, u, gradient.slope).unbind(0)
        self.n = (torch.zeros_like(u) if rule.fire_at is None else spikes_of(rule, u)).unbind(0)
        self.g_acc = torch.empty_like(u)
        self.g_bias, self.g_bias_i, self.g_sub, self.g_fire = (torch.zeros_like(self.u[0]) for _ in range(4))

    def run(self, g_spikes: Tensor | None, g_membrane: Tensor | None) -> None:
        """Walk; the results are ``g_acc`` and the four sums over time."""
        zero = torch.zeros_like(self.u[0])
        g_v, g_i, g_n = zero, zero, zero
        for t in range(len(self.u) - 1, -1, -1):
            if g_membrane is not None:
                g_v = g_v + g_membrane[t]
            g_u = self._spike_and_reset(t, g_v, g_n if g_spikes is None else g_n + g_spikes[t])
            g_n = zero
            if self.raw is not None and t > 0:
                g_u, g_n = self._dropped(t, g_u)
            if self.pass_v is not None:
                g_u = g_u * self.pass_v[t]
            if self.rule.bias is not None:
                self.g_bias += g_u
            g_i = self._current(t, g_u, g_i)
            if self.rule.bias_i is not None:
                self.g_bias_i += self.g_acc[t]
            if t > 0:
                g_v, g_n = self._leak_and_delayed_reset(t, g_u, g_n)
                if self.recurrent is not None:
                    g_n = torch.addmm(g_n, self.g_acc[t], self.recurrent)

    def _spike_and_reset(self, t: int, g_v: Tensor, g_n: Tensor) -> Tensor:
        rule, n = self.rule, self.n[t]
        if self.surrogate is None:
            return g_v
        g_u = g_v
        if rule.timing == "same_step" and rule.resets == "subtract":
            self.g_sub -= g_v * n
            if self.gradient.through_reset:
                g_n = g_n - g_v * needed(rule.reset_sub)
        elif rule.timing == "same_step" and rule.resets == "to_value":
            g_u = torch.where(n > 0, 0.0, g_v)
            if self.gradient.through_reset:
                g_n = g_n + g_v * (needed(rule.reset_to) - self.u[t])
        g_spike = g_n * self.surrogate[t]
        self.g_fire -= g_spike
        return g_u + g_spike

    def _dropped(self, t: int, g_u: Tensor) -> tuple[Tensor, Tensor]:
        before = self.n[t - 1]
        g_n = torch.zeros_like(g_u)
        if self.gradient.through_reset and self.raw is not None:
            g_n = g_u * (needed(self.rule.reset_to) - self.raw[t])
        return torch.where(before > 0, 0.0, g_u), g_n

    def _current(self, t: int, g_u: Tensor, g_i: Tensor) -> Tensor:
        """Gradient of the synaptic sum of step t goes into ``g_acc``; returns that of the current of step t−1."""
        rule, g_acc = self.rule, self.g_acc[t]
        if rule.leak_i is None:
            g_acc.copy_(g_u)
            return g_i
        if rule.current == "new":
            g_i = g_i + g_u
        g_acc.copy_(g_i) if self.pass_i is None else torch.mul(g_i, self.pass_i[t], out=g_acc)
        g_before = g_acc * rule.leak_i.slope
        return g_before if rule.current == "new" else g_before + g_u

    def _leak_and_delayed_reset(self, t: int, g_w: Tensor, g_n: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of membrane and spikes at the end of step t−1."""
        rule, before, end = self.rule, self.n[t - 1], self.u[t - 1]
        if rule.order is None or rule.resets == "none":
            return g_w * rule.leak_v.slope, g_n
        late = rule.order == "after_leak"
        g = g_w if late else g_w * rule.leak_v.slope
        if rule.resets == "subtract":
            self.g_sub -= g * before
            if self.gradient.through_reset:
                g_n = g_n - g * needed(rule.reset_sub)
            return g * rule.leak_v.slope if late else g, g_n
        if self.gradient.through_reset:
            g_n = g_n + g * (needed(rule.reset_to) - (rule.leak_v.apply(end) if late else end))
        g = torch.where(before > 0, 0.0, g)
        return g * rule.leak_v.slope if late else g, g_n
