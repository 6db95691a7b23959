"""Synaptic operations: how often a synapse is used when a network runs over samples.

One operation is one non-zero source value (a spike, several spikes of one step, a non-zero input) reaching one synapse
whose weight is not zero. Source: Davies et al. 2018, "Loihi: a neuromorphic manycore processor with on-chip learning",
IEEE Micro 38(1), counts energy per synaptic operation in this sense. With ``f`` the fan-out of a source neuron and
``a`` the share of its steps with a spike::

    operations per sample = steps · Σ_neuron a · f

The spikes of the last step are counted over a delayed connection too, although nothing sees them any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.network.model import INPUT, SumPool
from engine.network.simulate import Prepared
from engine.network.synapse import Synapse, apply_synapse
from engine.specs.evaluated import SynapticOperations


def synaptic_operations(
    prepared: Prepared, busy: Mapping[str, NDArray[np.float64]], steps: int
) -> tuple[SynapticOperations, ...]:
    """Operations per sample of every connection, in execution order.

    Args:
        prepared: float or integer network.
        busy: source → share of the steps in which each of its neurons fires, ``[neuron]``; ``@input``: the input's.
        steps: time steps of a sample.
    """
    counted = []
    for stage in prepared.stages:
        for synapse in stage.synapses:
            source = synapse.connection.source
            reach = fan_out(synapse).numpy()
            counted.append(
                SynapticOperations(
                    connection=synapse.connection.name,
                    source="input" if source == INPUT else source,
                    target=stage.name,
                    synapses=int(reach.sum()),
                    per_sample=float(steps * (busy[source] @ reach)),
                )
            )
    return tuple(counted)


def fan_out(synapse: Synapse) -> Tensor:
    """Synapses with a weight other than zero that each source neuron reaches, ``[neuron]`` in float64.

    The gradient of the sum of everything that arrives, with every such weight set to one: borders, strides, groups and
    pooling need no case of their own.
    """
    connection = synapse.connection
    weight = None if synapse.weight is None else (synapse.weight != 0).to(torch.float64)
    before = tuple(replace(step, scale=1.0) if isinstance(step, SumPool) else step for step in connection.before)
    plain = replace(connection, before=before, after=())  # what comes after acts on the sum, not on synapses
    ones = replace(synapse, connection=plain, weight=weight, bias=None, gain=None)
    device = None if synapse.weight is None else synapse.weight.device
    source = torch.ones(1, *connection.source_shape, dtype=torch.float64, device=device, requires_grad=True)
    with torch.enable_grad():
        total = apply_synapse(ones, source, (), torch.float64).sum()
        (reach,) = torch.autograd.grad(total, source)
    return reach.flatten().round().cpu()
