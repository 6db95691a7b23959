"""A neuron layer linearised along its trajectory: first derivatives as one linear recurrence, second as one weight.

Axes ``[time, batch, neuron...]``. Whatever the reset, the membrane before the spike, ``u``, follows ::

    du_t = carry_t·du_{t−1} + gate_t·ddrive_t        dn_t = spike_t·du_t        dv_t = end_t·du_t

since the spikes of the step before are themselves a function of ``u_{t−1}``. With ``b`` the leak, ``θ`` what a reset
subtracts, ``r`` what it resets to, ``τ`` 1 where the reset is differentiated and 0 where it is detached::

    subtract, same step or before the leak:  carry = b·(1 − τθ·spike)
    subtract, after the leak:                carry = b − τθ·spike
    to value, same step or before the leak:  carry = b·(1 − n + τ·(r − u)·spike)
    to value, after the leak:                carry = b·(1 − n) + τ·(r − b·u)·spike
    dropped input, on top:                   carry = (1 − n)·carry + τ·(r − raw)·spike,  gate = 1 − n
    floor, on top:                           carry, gate = 0 where the membrane lies on it

(all of the step before but ``raw``, the membrane that the dropped input would have made). Current-based layers filter
the drive first, ``di_t = a·di_{t−1} + dacc_t``. Where nothing but a subtraction makes ``carry`` vary, its two factors
are kept apart: ``carry_t = carry − slope·spike_{t−1}``, which needs no array over time.

Second derivatives: the spike's own, ``spike'·du²`` weighed by the adjoint of n; and ``−2·adjoint·dv·dn`` of a
differentiated reset to a value, the only bilinear operation. ``dn = spike·du`` makes that quadratic in du too, so one
array ``bend`` holds both: the layer adds ``Σ bend·du²`` to ``V'HV``. A dropped input also multiplies du with the drive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.kernels.rules import Leak, NeuronRule
from engine.kernels.step import SpikeGradient, needed, surrogate_of

STRETCH, LEAST = 1 << 17, 4  # values (half a megabyte of float32, of which a handful are at work at once), steps


@dataclass(frozen=True)
class Trajectory:
    """What a run leaves behind, each ``[time, batch, neuron...]``.

    ``n`` spikes, ``u`` the membrane before the spike's reset, ``raw`` the membrane before a dropped input replaced it
    (None: inputs are not dropped), ``tested`` what the spike test saw (None: u).
    """

    n: Tensor
    u: Tensor
    raw: Tensor | None = None
    tested: Tensor | None = None

    def over(self, steps: slice) -> Trajectory:
        """Some steps of it."""
        raw, tested = (None if t is None else t[steps] for t in (self.raw, self.tested))
        return Trajectory(self.n[steps], self.u[steps], raw, tested)

    @property
    def test(self) -> Tensor:
        """What the spike test saw."""
        return self.u if self.tested is None else self.tested


@dataclass(frozen=True)
class LinearNeurons:
    """Derivatives along a trajectory; each ``[time, batch, neuron...]``, or broadcastable where it is constant.

    ``spike`` is None for neurons that never spike, ``gate`` where it is 1, ``end`` where the membrane at the end of a
    step is u. ``current_leak`` is the leak of current-based neurons, whose membrane sees the ``old`` or new current.
    ``slope`` (None: 0) makes the carry of a step ``carry − slope·spike`` of the step before. Weights of second
    derivatives need the adjoints: :func:`bends`.
    """

    carry: Tensor
    spike: Tensor | None
    gate: Tensor | None
    end: Tensor | None
    current_leak: Tensor | None
    old_current: bool
    slope: Tensor | None = None

    def over(self, steps: slice) -> LinearNeurons:
        """Some steps of it."""
        spike, gate, end = (None if f is None else f[steps] for f in (self.spike, self.gate, self.end))
        varies = self.spike is not None and self.carry.dim() == self.spike.dim()
        return replace(self, carry=self.carry[steps] if varies else self.carry, spike=spike, gate=gate, end=end)

    def carry_at(self, t: int) -> Tensor:
        """From step t − 1 to step t ≥ 1: ``[batch, neuron...]`` or broadcastable to that."""
        if self.slope is not None and self.spike is not None:
            return self.carry - self.slope * self.spike[t - 1]
        varies = self.spike is not None and self.carry.dim() == self.spike.dim()
        return self.carry[t] if varies else self.carry


@dataclass(frozen=True)
class Bends:
    """Second derivatives weighed by adjoints: ``Σ bend·du² + Σ cross_t·du_{t−1}·ddrive_t`` per sample."""

    bend: Tensor | None
    cross: Tensor | None = None


def linearise_neurons(rule: NeuronRule, path: Trajectory, gradient: SpikeGradient) -> LinearNeurons:
    """First derivatives of a float layer along its trajectory.

    Args:
        rule: the neurons.
        path: of the layer's run.
        gradient: surrogate slope, and whether the reset is differentiated.

    Raises:
        ValueError: the rule saturates (integer programs are not linearised here).
    """
    if rule.limit is not None:
        raise ValueError("only float networks are linearised, this rule saturates")
    leak = _slope(rule.leak_v, path.u)
    current_leak = None if rule.leak_i is None else _slope(rule.leak_i, path.u)
    old = rule.current == "old"
    if rule.fire_at is None:
        return LinearNeurons(leak, None, None, None, current_leak, old)
    spike = torch.empty_like(path.u)
    for steps in _stretches(path.u):
        spike[steps] = surrogate_of(rule, path.test[steps], gradient.slope)
    end = None if rule.timing == "next_step" else _reset_slope(rule, path, spike, gradient)
    shown = end if end is not None and end.dim() > 0 else None  # 1 where nothing is reset, or a subtraction detached
    if rule.resets == "subtract" and gradient.through_reset and path.raw is None and rule.floor is None:
        slope = needed(rule.reset_sub) if rule.order == "after_leak" else leak * needed(rule.reset_sub)
        return LinearNeurons(leak, spike, None, shown, current_leak, old, slope)
    carry, gate = _carry(rule, path, leak, spike, gradient)
    return LinearNeurons(carry, spike, gate, shown, current_leak, old)


def bends(
    rule: NeuronRule,
    path: Trajectory,
    linear: LinearNeurons,
    adjoint_u: Tensor | None,
    adjoint_n: Callable[[slice], Tensor],
    adjoint_v: Tensor | None,
    gradient: SpikeGradient,
) -> Bends:
    """Weights of the second derivatives.

    Args:
        rule, path, linear, gradient: as above.
        adjoint_u: of the membrane before the spike; needed where the reset is differentiated.
        adjoint_n: what enters the spikes from outside the layer's own resets, for some steps.
        adjoint_v: what enters the membrane at the end of a step from the readout; None: nothing.
    """
    if linear.spike is None:
        return Bends(None)
    bend, cross = torch.empty_like(path.u), None
    through = gradient.through_reset and rule.resets != "none"
    for steps in _stretches(path.u):
        before, after = int(through and path.raw is not None), int(through)  # steps that add something to these
        around = slice(max(steps.start - before, 0), min(steps.stop + after, len(path.u)))
        inner = slice(steps.start - around.start, steps.stop - around.start)
        part = _bends_of(
            rule,
            path.over(around),
            linear.over(around),
            None if adjoint_u is None else adjoint_u[around],
            adjoint_n(around),
            None if adjoint_v is None else adjoint_v[around],
            gradient,
        )
        bend[steps] = needed(part.bend)[inner]
        if part.cross is not None:
            cross = torch.empty_like(path.u) if cross is None else cross
            cross[steps] = part.cross[inner]
    return Bends(bend, cross)


def _stretches(values: Tensor) -> Iterator[slice]:
    """Steps in stretches whose intermediate results fit a processor's second cache; all at once on other devices."""
    steps = len(values)
    size = steps if values.device.type != "cpu" else max(LEAST, STRETCH * steps // max(values.numel(), 1))
    for start in range(0, steps, size):
        yield slice(start, min(start + size, steps))


def _bends_of(
    rule: NeuronRule,
    path: Trajectory,
    linear: LinearNeurons,
    adjoint_u: Tensor | None,
    adjoint_n: Tensor,
    adjoint_v: Tensor | None,
    gradient: SpikeGradient,
) -> Bends:
    """:func:`bends` for some steps; the first and the last are wrong where others come before or after."""
    spike, through = needed(linear.spike), gradient.through_reset and rule.resets != "none"
    total, bilinear = adjoint_n, None
    cross = None
    if through:
        leak, adjoint_u = _slope(rule.leak_v, path.u), needed(adjoint_u)
        late = rule.order == "after_leak"
        mu = _later(adjoint_u if linear.gate is None else adjoint_u * linear.gate)  # of w at the next step
        mu = mu if late else mu * leak
        if rule.timing == "same_step" and adjoint_v is not None:
            mu = mu + adjoint_v
        if rule.resets == "subtract":
            total = total - mu * needed(rule.reset_sub)
        else:
            total = total + mu * (needed(rule.reset_to) - (path.u * leak if late else path.u))
            bilinear = mu * spike * (-2.0 * leak if late else -2.0)
        if path.raw is not None:
            nu = adjoint_u if rule.floor is None else adjoint_u * (path.u > rule.floor)
            total = total + _later(nu * (needed(rule.reset_to) - path.raw))
            raw_carry = _late_reset_slope(rule, path, leak, spike, gradient)
            extra = _later(nu) * spike * (-2.0)
            bilinear = extra * raw_carry if bilinear is None else bilinear + extra * raw_carry
            cross = _earlier(extra, 0.0)
    bend = total * surrogate_slope(rule, path.test, spike, gradient.slope)
    return Bends(bend if bilinear is None else bend + bilinear, cross)


def surrogate_slope(rule: NeuronRule, v: Tensor, spike: Tensor, slope: float) -> Tensor:
    """Derivative of :func:`engine.kernels.step.surrogate_of`: ``−2·(k/θ)²·d·θ·spike²``, d the distance to threshold."""
    fire_at = needed(rule.fire_at)
    distance = v - fire_at
    scale = fire_at.abs() if rule.reset_sub is None else rule.reset_sub.abs()
    if rule.max_spikes > 1:
        step = needed(rule.reset_sub)
        distance = distance - step * torch.clamp(torch.round(distance / step), 0.0, float(rule.max_spikes - 1))
    return spike.square() * distance * (-2.0 * slope**2 / scale)


def _slope(leak: Leak, like: Tensor) -> Tensor:
    return torch.as_tensor(leak.slope, dtype=like.dtype, device=like.device)


def _later(value: Tensor) -> Tensor:
    """Of the next step, 0 after the last, in the same layout of memory."""
    moved = torch.empty_like(value)
    moved[:-1] = value[1:]
    moved[-1:] = 0.0
    return moved


def _reset_slope(rule: NeuronRule, path: Trajectory, spike: Tensor, gradient: SpikeGradient) -> Tensor:
    """``dR(u, n(u))/du`` of a reset on u itself."""
    if rule.resets == "none":
        return torch.ones((), dtype=spike.dtype, device=spike.device)
    if rule.resets == "subtract":
        if not gradient.through_reset:
            return torch.ones((), dtype=spike.dtype, device=spike.device)
        return 1.0 - spike * needed(rule.reset_sub)
    stays = 1.0 - path.n
    return stays + (needed(rule.reset_to) - path.u) * spike if gradient.through_reset else stays


def _late_reset_slope(
    rule: NeuronRule, path: Trajectory, leak: Tensor, spike: Tensor, gradient: SpikeGradient
) -> Tensor:
    """``d raw_{t+1}/du_t``: leak and reset in the rule's order."""
    if rule.resets == "none" or rule.order != "after_leak":
        return leak * _reset_slope(rule, path, spike, gradient)
    if rule.resets == "subtract":
        return leak - spike * needed(rule.reset_sub) if gradient.through_reset else leak
    stays = (1.0 - path.n) * leak
    return stays + (needed(rule.reset_to) - leak * path.u) * spike if gradient.through_reset else stays


def _carry(
    rule: NeuronRule, path: Trajectory, leak: Tensor, spike: Tensor, gradient: SpikeGradient
) -> tuple[Tensor, Tensor | None]:
    """``carry`` (shifted to the step that uses it) and ``gate``."""
    carry = _late_reset_slope(rule, path, leak, spike, gradient)
    gate = None
    if path.raw is not None:
        stays = 1.0 - path.n
        carry = carry * stays
        if gradient.through_reset:
            carry = carry + (needed(rule.reset_to) - _later(path.raw)) * spike
        gate = _earlier(stays, 1.0)
    if carry.dim() == path.u.dim():
        carry = _earlier(carry, 0.0)
    if rule.floor is not None:
        above = (path.u > rule.floor).to(path.u.dtype)
        carry, gate = carry * above, above if gate is None else gate * above
    return carry, gate


def _earlier(value: Tensor, first: float) -> Tensor:
    """Of the step before, ``first`` at the start, in the same layout of memory."""
    moved = torch.empty_like(value)
    moved[1:] = value[:-1]
    moved[:1] = first
    return moved
