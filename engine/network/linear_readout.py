"""A readout that is linear in the spikes that it reads, contracted over time before its weights are applied.

The sum over time of a leaky integrator's membrane is ``Σ_t (k_t·(W·s_t + c) + k_t·b)`` with ``k_t = Σ_{j<T−t} f^j``:
one product per sample instead of one per step, and no membrane to keep for the backward pass. Training alone uses it:
sums are taken in another order than step by step. An integer integrator rounds its leak, so its values are stepped;
its straight-through gradient is that of the contraction as long as no state saturates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.kernels.rules import FloatLeak, Leak, NoLeak
from engine.kernels.through import straight_through
from engine.network.model import Flatten

if TYPE_CHECKING:
    from engine.network.simulate import Stage


def contract_readout(stage: Stage, spikes: Tensor, dtype: torch.dtype) -> Tensor | None:
    """The membrane's sum over time ``[batch, outputs]``, or None where the layer is not that simple.

    Args:
        stage: the layer that is read out, by the sum of its membrane.
        spikes: of its one source, ``[time, batch, neuron...]``.
        dtype: of the state.
    """
    rule = stage.rule
    if any(value is not None for value in (rule.limit, rule.bias, rule.start)):
        return None
    if not isinstance(rule.leak_v, FloatLeak | NoLeak) or not _contractible(stage):
        return None
    return _contracted(stage, spikes, dtype)


def contract_gradient(stage: Stage, spikes: Tensor, membrane: Tensor, total: Tensor) -> Tensor:
    """``total``, an integer readout's sum over time, with the contraction's gradient where that is the same.

    Args:
        stage: the layer that is read out, by the sum of its membrane.
        spikes: of its one source, ``[time, batch, neuron...]``.
        membrane: after every step, ``[time, batch, outputs]``; a state at its limit passes no gradient on, so that
            ``total`` is then returned as it is.
        total: ``[batch, outputs]``.
    """
    limit = stage.rule.limit
    if limit is None or not _contractible(stage):
        return total
    low, high = membrane.detach().aminmax()
    if not (limit[0] < float(low) and float(high) < limit[1]):
        return total
    linear = _contracted(stage, spikes, membrane.dtype)
    return straight_through(linear.to(total.dtype), total.detach())


def _contractible(stage: Stage) -> bool:
    """One plain matrix into integrators that share a fixed leak."""
    rule = stage.rule
    if len(stage.synapses) != 1 or rule.fire_at is not None or rule.leak_i is not None or len(stage.shape) != 1:
        return False
    if rule.floor is not None or rule.bias_i is not None or _factor(rule.leak_v) is None:
        return False
    synapse = stage.synapses[0]
    link = synapse.connection
    plain = link.kind == "linear" and not link.after and not link.delayed and link.delay is None
    return synapse.weight is not None and plain and all(isinstance(step, Flatten) for step in link.before)


def _factor(leak: Leak) -> Tensor | float | None:
    """What a step leaves of the membrane, 0-d; None where neurons differ in it or it is trained."""
    slope = leak.slope
    if not isinstance(slope, Tensor):
        return slope
    return None if slope.numel() != 1 or slope.requires_grad else slope.detach().double().reshape(())


def _contracted(stage: Stage, spikes: Tensor, dtype: torch.dtype) -> Tensor:
    """``Σ_t k_t·(W·s_t + c + b)`` of a layer that is :func:`_contractible`."""
    synapse, factor = stage.synapses[0], _factor(stage.rule.leak_v)
    if synapse.weight is None or factor is None:
        raise ValueError(f"layer {stage.name!r} cannot be contracted over time")
    steps, batch = spikes.shape[:2]
    powers = torch.as_tensor(factor, dtype=torch.float64, device=spikes.device).pow(
        torch.arange(steps, device=spikes.device)
    )
    k = powers.cumsum(0).flip(0).to(synapse.weight.dtype)
    read = (k @ spikes.to(k.dtype).reshape(steps, -1)).reshape(batch, -1)  # [batch, in]
    total = F.linear(read, synapse.weight, None if synapse.bias is None else synapse.bias * k.sum()).to(dtype)
    total = total if synapse.gain is None else total * synapse.gain
    return total if stage.rule.bias is None else total + stage.rule.bias * k.sum().to(dtype)
