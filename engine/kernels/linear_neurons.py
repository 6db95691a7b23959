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
the drive first, ``di_t = a·di_{t−1} + dacc_t``.

Second derivatives: the spike's own, ``spike'·du²`` weighed by the adjoint of n; and ``−2·adjoint·dv·dn`` of a
differentiated reset to a value, the only bilinear operation. ``dn = spike·du`` makes that quadratic in du too, so one
array ``bend`` holds both: the layer adds ``Σ bend·du²`` to ``V'HV``. A dropped input also multiplies du with the drive.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.kernels.rules import Leak, NeuronRule
from engine.kernels.step import SpikeGradient, needed, surrogate_of


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

    @property
    def test(self) -> Tensor:
        """What the spike test saw."""
        return self.u if self.tested is None else self.tested


@dataclass(frozen=True)
class LinearNeurons:
    """Derivatives along a trajectory; each ``[time, batch, neuron...]``, or broadcastable where it is constant.

    ``spike`` is None for neurons that never spike, ``gate`` where it is 1, ``end`` where the membrane at the end of a
    step is u. ``current_leak`` is the leak of current-based neurons, whose membrane sees the ``old`` or new current.
    ``weights`` of second derivatives need the adjoints: :func:`bends`.
    """

    carry: Tensor
    spike: Tensor | None
    gate: Tensor | None
    end: Tensor | None
    current_leak: Tensor | None
    old_current: bool


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
    spike = surrogate_of(rule, path.test, gradient.slope)
    end = _reset_slope(rule, path, spike, gradient)
    carry, gate = _carry(rule, path, leak, spike, end, gradient)
    shown = end if rule.resets != "none" and rule.timing == "same_step" else None
    return LinearNeurons(carry, spike, gate, shown, current_leak, old)


def bends(
    rule: NeuronRule,
    path: Trajectory,
    linear: LinearNeurons,
    adjoint_u: Tensor,
    adjoint_n: Tensor,
    adjoint_v: Tensor | None,
    gradient: SpikeGradient,
) -> Bends:
    """Weights of the second derivatives.

    Args:
        rule, path, linear, gradient: as above.
        adjoint_u: of the membrane before the spike.
        adjoint_n: what enters the spikes from outside the layer's own resets.
        adjoint_v: what enters the membrane at the end of a step from the readout; None: nothing.
    """
    if linear.spike is None:
        return Bends(None)
    spike, through = linear.spike, gradient.through_reset and rule.resets != "none"
    total, bilinear = adjoint_n, None
    cross = None
    if through:
        leak = _slope(rule.leak_v, path.u)
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
            cross = torch.cat([torch.zeros_like(extra[:1]), extra[:-1]])
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
    """Of the next step, 0 after the last."""
    return torch.cat([value[1:], torch.zeros_like(value[:1])])


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
    rule: NeuronRule, path: Trajectory, leak: Tensor, spike: Tensor, end: Tensor, gradient: SpikeGradient
) -> tuple[Tensor, Tensor | None]:
    """``carry`` (shifted to the step that uses it) and ``gate``."""
    carry = _late_reset_slope(rule, path, leak, spike, gradient) if rule.order == "after_leak" else leak * end
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
    """Of the step before, ``first`` at the start."""
    return torch.cat([torch.full_like(value[:1], first), value[:-1]])
