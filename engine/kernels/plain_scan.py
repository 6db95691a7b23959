"""All time steps of one neuron layer, values alone: :func:`engine.kernels.step.neuron_step` bit for bit, in place.

Every operation writes into a buffer that fits the cache, and the same operations come in the same order as in the twin,
so that even the last bit is its. Axes: currents, spikes and membranes ``[time, batch, neuron...]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from engine.kernels.rules import FloatLeak, Leak, NeuronRule, NoLeak
from engine.kernels.step import NeuronState, needed, start_state

THREADED_VALUES = 1 << 20  # of one step; below it a second thread costs more than it brings


def plain_scan(
    current: Tensor, rule: NeuronRule, recurrent: Tensor | None, keep_membrane: bool
) -> tuple[Tensor, Tensor | None, NeuronState]:
    """Run a layer over all steps without any gradient.

    Args:
        current: synaptic sums ``[time, batch, neuron...]``, in units of the membrane; they hold the rule's ``bias_i``.
        rule: the neurons.
        recurrent: weights ``[neuron, neuron]`` (to, from) on the layer's spikes of the step before.
        keep_membrane: also return the membrane after every step.

    Returns:
        Spikes, the membrane after every step or None, the final state.
    """
    spikes = torch.zeros_like(current) if rule.fire_at is None else torch.empty_like(current)
    membrane = torch.empty_like(current) if keep_membrane else None
    with torch.no_grad(), few_threads(current[0].numel()):
        walk = _Walk(rule, current[0])
        for t, acc in enumerate(current.unbind(0)):
            if recurrent is not None:
                acc = torch.addmm(acc, walk.n, recurrent.T)
            walk.step(acc, spikes[t])
            if membrane is not None:
                membrane[t] = walk.v
    return spikes, membrane, NeuronState(walk.v, walk.i, walk.n.clone())


@contextmanager
def few_threads(values: int) -> Iterator[None]:
    """One thread while small tensors are walked through: torch would split a ``floor`` of a few thousand numbers."""
    before = torch.get_num_threads()
    if before == 1 or values >= THREADED_VALUES:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Walk:
    """The state of a layer, and buffers shaped like one step ``[batch, neuron...]``."""

    def __init__(self, rule: NeuronRule, like: Tensor) -> None:
        start = start_state(rule, like)
        self.rule = rule
        self.v, self.n = start.v.clone(), start.n
        self.i = None if start.i is None else start.i.clone()
        self._one, self._two = torch.empty_like(like), torch.empty_like(like)

    def step(self, acc: Tensor, n: Tensor) -> None:
        """DESIGN 5, one step; the spikes go into ``n``, which is kept as the spikes of the step before."""
        rule, resets = self.rule, self.rule.resets
        if resets != "none" and rule.order == "before_leak":
            self._reset(self.n)
        drive = acc
        if rule.leak_i is not None:
            old = self.i = needed(self.i)
            if rule.current == "old":
                drive = self._two.copy_(old)
            self.i = self._saturate(_leak(rule.leak_i, old).add_(acc))
            drive = self.i if rule.current == "new" else drive
        self.v = _leak(rule.leak_v, self.v)
        if resets != "none" and rule.order == "after_leak":
            self._reset(self.n)
        self.v.add_(drive)
        if rule.bias is not None:
            self.v.add_(rule.bias)
        self._saturate(self.v)
        if rule.drop_input and resets != "none":
            self._to_value(self.n)
        if rule.floor is not None:
            torch.maximum(self.v, rule.floor, out=self.v)
        if rule.fire_at is None:
            return
        self._fire(rule.fire_at, n)
        if resets != "none" and rule.timing == "same_step":
            self._reset(n)
            self._saturate(self.v)
        self.n = n

    def _fire(self, fire_at: Tensor, n: Tensor) -> None:
        rule = self.rule
        compare = torch.gt if rule.compare == "gt" else torch.ge
        compare(self.v, fire_at, out=n)
        if rule.max_spikes > 1:  # min(n_max, 1 + (v − fire_at) div reset_sub) where it fires
            extra = torch.sub(self.v, fire_at, out=self._one).div_(needed(rule.reset_sub)).floor_()
            n.mul_(extra.add_(1.0).clamp_(0.0, float(rule.max_spikes)))

    def _reset(self, n: Tensor) -> None:
        if self.rule.reset == "subtract":
            self.v.sub_(torch.mul(n, needed(self.rule.reset_sub), out=self._one))
        else:
            self._to_value(n)

    def _to_value(self, n: Tensor) -> None:
        self.v = torch.where(n > 0, needed(self.rule.reset_to), self.v)

    def _saturate(self, value: Tensor) -> Tensor:
        return value if self.rule.limit is None else value.clamp_(*self.rule.limit)


def _leak(leak: Leak, state: Tensor) -> Tensor:
    if isinstance(leak, NoLeak):
        return state
    if isinstance(leak, FloatLeak):
        return state.mul_(leak.factor)
    return leak.apply(state)
