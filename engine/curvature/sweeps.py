"""First derivatives through a linearised network: forward (tangents) and backward (adjoints). No graph, no weights.

Axes ``[time, batch, neuron...]``; a seed of a layer is a change of its synaptic sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.curvature.linear_network import LinearNetwork, LinearStage, shifted, unshifted
from engine.kernels.linear_scan import backward_scan_, forward_scan_, varies_with_time


@dataclass(frozen=True)
class Tangent:
    """Changes of one layer: membrane before the spike, spikes (None: never spikes), what drove the membrane."""

    u: Tensor
    n: Tensor | None
    drive: Tensor


@dataclass(frozen=True)
class Adjoint:
    """Derivatives of a scalar by one layer's synaptic sum, membrane, spikes (from outside), membrane in the readout."""

    acc: Tensor
    u: Tensor
    n: Tensor | None
    v: Tensor | None


def tangents(network: LinearNetwork, seeds: Mapping[str, Tensor]) -> Iterator[tuple[LinearStage, Tangent]]:
    """How every layer from the seeded ones on changes, in execution order; layers that do not change are left out.

    Args:
        network: linearised.
        seeds: layer → change of its synaptic sum; consumed (overwritten).
    """
    changed: dict[str, Tensor] = {}  # of spikes, by layer
    for component in network.components:
        stages = [network.stages[index] for index in component]
        inside = {stage.name for stage in stages}
        sums = {stage.name: _incoming(network, stage, inside, changed, seeds) for stage in stages}
        if all(total is None for total in sums.values()):
            continue
        loops = any(w.connection.source in inside for stage in stages for w in stage.wires)
        if not loops:
            found = {stages[0].name: _scan(stages[0], _given(sums[stages[0].name]))}
        else:
            found = _step_together(network, stages, sums)
        for stage in stages:
            tangent = found[stage.name]
            if tangent.n is not None:
                changed[stage.name] = tangent.n
            yield stage, tangent


def readout_tangent(network: LinearNetwork, tangent: Tangent) -> Tensor:
    """Change of the outputs ``[batch, output]`` from that of the output layer."""
    if network.readout == "spike_count":
        return _given(tangent.n).sum(0).flatten(1)
    end = network.stage(network.output).neurons.end
    membrane = tangent.u if end is None else tangent.u * end
    if network.readout == "membrane_last":
        return membrane[-1].flatten(1)
    return (membrane if network.read is None else membrane * network.read).sum(0).flatten(1)


def adjoints(
    network: LinearNetwork, outputs: Tensor, visit: Callable[[LinearStage, Adjoint], None], down_to: int = 0
) -> None:
    """Derivatives of ``Σ outputs·z`` by every layer, from the last to the first.

    Args:
        network: linearised.
        outputs: seed ``[batch, output]``.
        visit: called with every layer that reaches the outputs.
        down_to: index of the last stage that is needed.
    """
    into: dict[str, Tensor] = {}  # adjoint of spikes, by layer
    v = _readout_adjoint(network, outputs, into)
    for component in reversed(network.components):
        if max(component) < down_to:
            break
        stages = [network.stages[index] for index in component]
        inside = {stage.name for stage in stages}
        if not any(s.name in into or (s.name == network.output and v is not None) for s in stages):
            continue
        loops = any(w.connection.source in inside for stage in stages for w in stage.wires)
        membranes = {s.name: v if s.name == network.output else None for s in stages}
        if not loops:
            stage = stages[0]
            found = {stage.name: _scan_back(network, stage, into.get(stage.name), membranes[stage.name])}
        else:
            found = _step_back_together(network, stages, into, membranes)
        for stage in reversed(stages):
            visit(stage, found[stage.name])
            _spread(network, stage, found[stage.name].acc, inside, into, down_to)


def _given(value: Tensor | None) -> Tensor:
    if value is None:
        raise ValueError("a derivative was asked of a layer that has none")
    return value


def _incoming(
    network: LinearNetwork,
    stage: LinearStage,
    inside: set[str],
    changed: Mapping[str, Tensor],
    seeds: Mapping[str, Tensor],
) -> Tensor | None:
    total = seeds.get(stage.name)
    for wire in stage.wires:
        source = wire.connection.source
        if source in inside or source not in changed:
            continue
        value = wire.push(wire.late(changed[source]).flatten(0, 1)).reshape(network.steps, network.batch, *stage.shape)
        total = value if total is None else total.add_(value)
    return total


def _scan(stage: LinearStage, total: Tensor) -> Tangent:
    neurons = stage.neurons
    if neurons.current_leak is not None:
        total = forward_scan_(total, neurons.current_leak)
        total = shifted(total) if neurons.old_current else total
    drive = total if neurons.gate is None else total * neurons.gate
    keeps = stage.path.raw is not None  # a dropped input needs what drove the membrane
    u = forward_scan_(drive.clone() if keeps and drive is total else drive, neurons.carry)
    return Tangent(u, None if neurons.spike is None else u * neurons.spike, total)


def _step_together(
    network: LinearNetwork, stages: list[LinearStage], sums: Mapping[str, Tensor | None]
) -> dict[str, Tangent]:
    """Layers on a cycle, step by step; a layer without a sum of its own starts at zero."""
    like = {s.name: s.path.u for s in stages}
    out = {s.name: torch.empty_like(like[s.name]) for s in stages}
    drives = {s.name: torch.empty_like(like[s.name]) for s in stages}
    spikes = {s.name: torch.zeros_like(like[s.name]) for s in stages}
    currents: dict[str, Tensor] = {}
    for t in range(network.steps):
        for stage in stages:
            total, name, neurons = sums[stage.name], stage.name, stage.neurons
            acc = torch.zeros_like(like[name][0]) if total is None else total[t]
            for wire in stage.wires:
                source = wire.connection.source
                seen = wire.seen_at(spikes[source], t) if source in spikes else None
                if seen is not None:
                    acc = acc + wire.push(seen)
            if neurons.current_leak is not None:
                before = currents.get(name, torch.zeros_like(acc))
                currents[name] = before * neurons.current_leak + acc
                acc = before if neurons.old_current else currents[name]
            drives[name][t] = acc
            u = acc if neurons.gate is None else acc * _at(neurons.gate, t, like[name])
            out[name][t] = u if t == 0 else torch.addcmul(u, out[name][t - 1], _at(neurons.carry, t, like[name]))
            if neurons.spike is not None:
                torch.mul(out[name][t], neurons.spike[t], out=spikes[name][t])
    return {
        s.name: Tangent(out[s.name], None if s.neurons.spike is None else spikes[s.name], drives[s.name])
        for s in stages
    }


def _at(factor: Tensor, t: int, like: Tensor) -> Tensor:
    return factor[t] if varies_with_time(factor, like) else factor


def _readout_adjoint(network: LinearNetwork, outputs: Tensor, into: dict[str, Tensor]) -> Tensor | None:
    stage = network.stage(network.output)
    seed = outputs.to(stage.path.u.dtype).reshape(1, network.batch, *stage.shape)
    if network.readout == "spike_count":
        if stage.neurons.spike is not None:
            into[stage.name] = seed.expand(network.steps, *seed.shape[1:]).clone()
        return None
    if network.readout == "membrane_last":
        last = torch.zeros_like(stage.path.u)
        last[-1] = seed[0]
        return last
    return seed.expand(network.steps, *seed.shape[1:]) if network.read is None else seed * network.read


def _scan_back(network: LinearNetwork, stage: LinearStage, n: Tensor | None, v: Tensor | None) -> Adjoint:
    neurons = stage.neurons
    u = _membrane_seed(stage, n, v)
    u = backward_scan_(u, neurons.carry)
    acc = u if neurons.gate is None else u * neurons.gate
    if neurons.current_leak is not None:
        acc = unshifted(acc) if neurons.old_current else acc.clone()
        acc = backward_scan_(acc, neurons.current_leak)
    return Adjoint(acc, u, n, v)


def _membrane_seed(stage: LinearStage, n: Tensor | None, v: Tensor | None) -> Tensor:
    neurons = stage.neurons
    total: Tensor | None = None
    if n is not None and neurons.spike is not None:
        total = n * neurons.spike
    if v is not None:
        own = v.clone() if neurons.end is None else v * neurons.end
        total = own if total is None else total.add_(own)
    return torch.zeros_like(stage.path.u) if total is None else total


def _step_back_together(
    network: LinearNetwork,
    stages: list[LinearStage],
    into: Mapping[str, Tensor],
    membranes: Mapping[str, Tensor | None],
) -> dict[str, Adjoint]:
    """Layers on a cycle, from the last step to the first; what they send each other gathers in ``n``."""
    like = {s.name: s.path.u for s in stages}
    n = {name: into[name].clone() if name in into else torch.zeros_like(u) for name, u in like.items()}
    u = {name: torch.zeros_like(value) for name, value in like.items()}
    acc = {name: torch.zeros_like(value) for name, value in like.items()}
    currents: dict[str, Tensor] = {}
    for t in range(network.steps - 1, -1, -1):
        for stage in reversed(stages):
            name, neurons, v = stage.name, stage.neurons, membranes[stage.name]
            g = u[name][t]
            if neurons.spike is not None:
                torch.mul(n[name][t], neurons.spike[t], out=g)
            if v is not None:
                g += v[t] if neurons.end is None else v[t] * neurons.end[t]
            if t + 1 < network.steps:
                g.addcmul_(u[name][t + 1], _at(neurons.carry, t + 1, like[name]))
            drive = g if neurons.gate is None else g * _at(neurons.gate, t, like[name])
            if neurons.current_leak is not None:
                late = currents.get(name, torch.zeros_like(g))  # of the current after this step, from later ones
                total = late if neurons.old_current else late + drive
                currents[name] = total * neurons.current_leak + (drive if neurons.old_current else 0.0)
                drive = total
            acc[name][t] = drive
            for wire in stage.wires:
                source = wire.connection.source
                if source in n:
                    wire.send_back(n[source], t, wire.pull(drive))
    return {
        s.name: Adjoint(acc[s.name], u[s.name], n[s.name] if s.neurons.spike is not None else None, membranes[s.name])
        for s in stages
    }


def _spread(
    network: LinearNetwork, stage: LinearStage, acc: Tensor, inside: set[str], into: dict[str, Tensor], down_to: int
) -> None:
    """Send the adjoint of a layer's sum back to the layers that feed it from outside its component."""
    known = {s.name: k for k, s in enumerate(network.stages)}
    for wire in stage.wires:
        source = wire.connection.source
        if source in inside or source not in known or known[source] < down_to:
            continue
        if network.stages[known[source]].neurons.spike is None:
            continue
        value = wire.pull(acc.flatten(0, 1)).reshape(network.steps, network.batch, *wire.connection.source_shape)
        value = wire.early(value)
        into[source] = into[source] + value if source in into else value
