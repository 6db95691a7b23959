"""The network's outputs by the plain step under autograd: every layer and step one after the other, nothing fused."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from engine.curvature.objective import Objective
from engine.curvature.wires import wire_of
from engine.kernels.step import SpikeGradient, neuron_step, start_state
from engine.network.model import INPUT
from engine.network.prepare import prepare
from engine.network.simulate import value_now
from engine.network.synapse import Synapse


def plain_synapse(synapse: Synapse, spikes: Tensor, shape: tuple[int, ...]) -> Tensor:
    """``gain·(after(W ∗ before(s)) + bias)`` by torch's own dense operations, which autograd differentiates twice.

    The engine's synapses may take a sparse path whose gradient has no graph.
    """
    wire = wire_of(synapse, shape, spikes.dtype)
    if synapse.weight is None:
        return wire.push(spikes)
    raw = wire.product(wire.map(spikes), synapse.weight)
    if synapse.bias is not None:
        raw = raw + synapse.bias.reshape(-1, *[1] * (raw.dim() - 2))
    return wire.finish(raw)


def plain_outputs(objective: Objective, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Readout ``[batch, output]``, differentiable twice in the weights.

    Args:
        objective: network, surrogate, reset gradient; its samples are not used.
        weights: by connection name ``[out, in, ...]``, may require gradients.
        x: frames ``[time, batch, *input_shape]``.

    Returns:
        Spike counts, or what the profile reads of the membrane.
    """
    prepared = prepare(objective.network, device=objective.device, weights=weights)
    gradient = SpikeGradient(objective.surrogate.slope, objective.reset_gradient == "through")
    batch = x.shape[1]
    paths: dict[str, list[Tensor]] = {INPUT: list(x.unbind(0))} | {s.name: [] for s in prepared.stages}
    states = {s.name: start_state(s.rule, x.new_zeros(batch, *s.shape)) for s in prepared.stages}
    kept = []
    for t, frame in enumerate(x.unbind(0)):
        before = {INPUT: torch.zeros_like(frame)} | {name: state.n for name, state in states.items()}
        if t > 0:
            before[INPUT] = x[t - 1]
        for stage in prepared.stages:
            total = frame.new_zeros(batch, *stage.shape)
            for synapse in stage.synapses:
                source = synapse.connection.source
                seen = value_now(synapse.connection, t, before[source], paths[source])
                total = total + plain_synapse(synapse, seen, stage.shape)
            states[stage.name] = neuron_step(stage.rule, states[stage.name], total, gradient)
            paths[stage.name].append(states[stage.name].n)
        read = states[prepared.output]
        kept.append(read.n if prepared.readout == "spike_count" else read.v)
    values = torch.stack(kept)
    if prepared.readout in ("spike_count", "membrane_sum"):
        return values.sum(0).flatten(1)
    return (values.amax(0) if prepared.readout == "membrane_max" else values[-1]).flatten(1)
