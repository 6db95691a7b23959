"""Parts of ``tr(H − G)`` that need no probe: a layer's own neurons and, between linear layers, those of the next.

They are closed where all neurons of a layer filter their input alike and linearly: the reset is detached (or there is
none), nothing is gated, one leak. Then ``du = filter(V·x)``, and with ``xb = filter(x)`` (PERFORMANCE section 0) ::

    own layer:   E[du_t²] = |xb_t|²                                  (convolution: of the patch)
    next layer:  E[du_t[m]²] = Σ_i W[m,i]²·|q_t[i]|²,   q_t[i] = f·q_{t−1}[i] + spike_t[i]·xb_t

for distinct neurons i of a linear layer have independent weights. ``|q_t|²`` follows from the Gram matrix of xb.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.curvature.blocks import Block
from engine.curvature.linear_network import LinearNetwork, LinearStage, reached_from
from engine.curvature.norms import KEPT_BYTES
from engine.curvature.wires import Wire
from engine.kernels.linear_scan import forward_scan_
from engine.network.model import Flatten


def exact_rest(block: Block, wire: Wire) -> tuple[Tensor, frozenset[str]]:
    """What is known exactly of one connection's ``tr(H − G)``.

    Args:
        block: samples, linearised.
        wire: a weighted connection whose source does not depend on its target.

    Returns:
        (per sample and output channel ``[batch, out]``, in the loss's unit; the layers whose curvature that covers).
    """
    network = block.network
    total = network.seen[wire.connection.name].new_zeros(network.batch, wire.raw_shape[0])
    stage = network.stage(wire.connection.target)
    if (
        not _shared_filter(stage)
        or not _alone(network, stage, wire)
        or not all(isinstance(m, Flatten) for m, _ in wire.after)
    ):
        return total, frozenset()
    filtered = _filtered(block, wire, stage)
    bend = block.bent.bends[stage.name].bend if stage.name in block.bent.bends else None
    if bend is not None:
        total = total + _own_layer(wire, filtered, bend)
    done = {stage.name}
    if wire.connection.kind == "linear" and stage.neurons.spike is not None and not wire.after:
        for follower, link in [(s, w) for s in network.stages for w in s.wires if w.connection.source == stage.name]:
            if _follows_simply(follower, link) and _alone(network, follower, link, stage):
                total = total + _next_layer(block, wire, stage, filtered, follower, link)
                done.add(follower.name)
    return total, frozenset(done)


def _shared_filter(stage: LinearStage) -> bool:
    neurons = stage.neurons
    alike = neurons.carry.numel() == 1 and neurons.slope is None and neurons.gate is None
    return alike and (neurons.current_leak is None or neurons.current_leak.numel() == 1)


def _alone(network: LinearNetwork, stage: LinearStage, wire: Wire, changed: LinearStage | None = None) -> bool:
    """Whether a change of ``changed`` (or of the layer itself) reaches the layer through one connection at most."""
    reached = reached_from(network, (changed or stage).name)
    return not any(other.connection.source in reached for other in stage.wires if other is not wire)


def _follows_simply(stage: LinearStage, link: Wire) -> bool:
    """A linear connection without maps into neurons that filter alike, and without a current of their own."""
    plain = link.connection.kind == "linear" and not link.before and not link.after
    at_once = not link.connection.delayed and link.connection.delay is None
    return plain and at_once and _shared_filter(stage) and stage.neurons.current_leak is None


def _filtered(block: Block, wire: Wire, stage: LinearStage) -> Tensor:
    """``xb``: what the weight sees, filtered as the target's membrane does, ``[time, batch, *mapped_shape]``."""
    network = block.network
    seen = network.seen[wire.connection.name].reshape(network.steps, network.batch, *wire.mapped_shape).clone()
    if stage.neurons.current_leak is not None:
        seen = forward_scan_(seen, stage.neurons.current_leak.reshape(()))
        if stage.neurons.old_current:
            seen = torch.cat([torch.zeros_like(seen[:1]), seen[:-1]])
    return forward_scan_(seen, stage.neurons.carry.reshape(()))


def _own_layer(wire: Wire, filtered: Tensor, bend: Tensor) -> Tensor:
    """``Σ bend·E[du²]``, ``[batch, out]``: neurons that see the same inputs share ``E[du²]``."""
    if wire.gain is not None:
        bend = bend * wire.gain.square()
    steps, batch, out = *bend.shape[:2], wire.raw_shape[0]
    if wire.connection.kind == "linear":
        return torch.einsum("tbn,tb->bn", bend.reshape(steps, batch, out), filtered.square().sum(2))
    c = wire.connection
    ones = filtered.new_ones(c.groups, *(() if c.weight is None else c.weight.shape[1:]))  # one channel a group
    total = bend.new_zeros(batch, out)
    for seen, each in zip(filtered.unbind(0), bend.unbind(0), strict=True):
        power = wire.product(seen.square(), ones)
        shape = (batch, c.groups, -1, *wire.raw_shape[1:])
        total += (each.reshape(shape) * power.unsqueeze(2)).reshape(batch, out, -1).sum(2)
    return total


def _next_layer(
    block: Block, wire: Wire, stage: LinearStage, filtered: Tensor, follower: LinearStage, link: Wire
) -> Tensor:
    bent = block.bent.bends.get(follower.name)
    if bent is None or bent.bend is None or link.weight is None or stage.neurons.spike is None:
        return filtered.new_zeros(block.network.batch, wire.raw_shape[0])
    spike = stage.neurons.spike
    factor = follower.neurons.carry.reshape(())
    each = 2 * spike.element_size() * block.network.steps**2  # bytes of a sample's two Gram matrices
    at_once = KEPT_BYTES // each
    if at_once:
        parts = [
            _squares(spike[:, start : start + at_once], filtered[:, start : start + at_once], factor)
            for start in range(0, block.network.batch, at_once)
        ]
    else:
        parts = [
            _squares_by_steps(spike[:, [sample]], filtered[:, [sample]], factor)
            for sample in range(block.network.batch)
        ]
    power = torch.cat(parts, dim=1)  # |q_t|² [time, batch, neuron]
    if wire.gain is not None:
        power = power * wire.gain.square()
    weight = link.weight if link.gain is None else link.weight * link.gain.reshape(-1, 1)
    return ((bent.bend @ weight.square()) * power).sum(0)


def _squares(spike: Tensor, filtered: Tensor, factor: Tensor) -> Tensor:
    """``|q_t|²`` ``[time, batch, neuron]`` by Gram matrices ``[batch, time, time]`` of ``xb``."""
    steps = len(spike)
    rows = filtered.transpose(0, 1)  # [batch, time, in]
    gram = rows @ rows.transpose(1, 2)
    ages = torch.arange(steps, device=gram.device)[:, None] - torch.arange(steps, device=gram.device)[None, :] - 1
    memory = torch.where(ages >= 0, factor ** ages.clamp(min=0), torch.zeros((), dtype=gram.dtype, device=gram.device))
    spike = spike.transpose(0, 1)  # [batch, time, neuron]
    met = (gram * memory) @ spike  # q_{t−1}·xb_t
    power = torch.diagonal(gram, dim1=1, dim2=2).unsqueeze(2) * spike.square() + 2.0 * factor * spike * met
    return forward_scan_(power.transpose(0, 1).contiguous(), factor.square())


def _squares_by_steps(spike: Tensor, filtered: Tensor, factor: Tensor) -> Tensor:
    """The same with ``q_t`` itself ``[batch, neuron, in]``, for recordings so long that T × T values are too many."""
    q = filtered.new_zeros(spike.shape[1], spike.shape[2], filtered.shape[2])
    power = torch.empty_like(spike)
    for t, (fired, seen) in enumerate(zip(spike.unbind(0), filtered.unbind(0), strict=True)):
        q = q.mul_(factor).addcmul_(fired.unsqueeze(2), seen.unsqueeze(1))
        power[t] = q.square().sum(2)
    return power
