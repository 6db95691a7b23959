"""A readout that is linear in the spikes that it reads, contracted over time before its weights are applied.

The sum over time of a leaky integrator's membrane is ``Σ_t k_t·(W·s_t + b)`` with ``k_t = Σ_{j<T−t} f^j``: one product
per sample instead of one per step, and no membrane to keep for the backward pass. Training alone uses it: sums are
taken in another order than step by step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.kernels.rules import FloatLeak, NoLeak
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
    if len(stage.synapses) != 1 or rule.fire_at is not None or rule.leak_i is not None or len(stage.shape) != 1:
        return None
    if any(value is not None for value in (rule.limit, rule.floor, rule.bias, rule.bias_i, rule.start)):
        return None
    synapse = stage.synapses[0]
    link, weight = synapse.connection, synapse.weight
    plain = link.kind == "linear" and not link.after and not link.delayed and link.delay is None
    if weight is None or not plain or not all(isinstance(step, Flatten) for step in link.before):
        return None
    if isinstance(rule.leak_v, FloatLeak) and rule.leak_v.factor.numel() == 1 and not rule.leak_v.factor.requires_grad:
        factor = rule.leak_v.factor.detach().double().reshape(())
    elif isinstance(rule.leak_v, NoLeak):
        factor = torch.ones((), dtype=torch.float64, device=spikes.device)
    else:
        return None
    steps, batch = spikes.shape[:2]
    k = factor.pow(torch.arange(steps, device=spikes.device)).cumsum(0).flip(0).to(weight.dtype)
    read = (k @ spikes.to(weight.dtype).reshape(steps, -1)).reshape(batch, -1)  # [batch, in]
    total = F.linear(read, weight, None if synapse.bias is None else synapse.bias * k.sum()).to(dtype)
    return total if synapse.gain is None else total * synapse.gain
