"""First derivatives forward through a linearised network: tangents. No graph, no weights.

Axes ``[time, batch, neuron...]``; a seed of a layer is a change of its synaptic sum. Where the readout is linear, or
counts spikes, what is read is summed over time before it meets the last weights: a sweep costs one small product there
instead of one a step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.curvature.linear_network import LinearNetwork, LinearStage, shifted
from engine.kernels.fill import Change, as_tensor
from engine.kernels.linear_neurons import Bends
from engine.kernels.linear_scan import varies_with_time
from engine.kernels.tangent_scan import Wanted, push


@dataclass(frozen=True)
class Tangent:
    """Changes of one layer: membrane before the spike, spikes (both None where nobody asks), second-order part.

    ``curvature`` ``[batch]`` is ``Σ bend·du² + cross·du·ddrive``; ``outputs`` ``[batch, output]`` what the output
    layer changes in the readout.
    """

    u: Tensor | None = None
    n: Tensor | None = None
    curvature: Tensor | None = None
    outputs: Tensor | None = None


@dataclass
class _Changes:
    """Of spikes, by layer: over time, and summed with the weights that the readout gives the steps."""

    over_time: dict[str, Tensor] = field(default_factory=dict)
    summed: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class _Asked:
    """Layers whose changes over time are asked for."""

    spikes: frozenset[str]
    membranes: frozenset[str]


def tangents(
    network: LinearNetwork,
    seeds: Mapping[str, Change],
    bends: Mapping[str, Bends] | None = None,
    keep: Collection[str] = (),
    membranes: Collection[str] = (),
) -> Iterator[tuple[LinearStage, Tangent]]:
    """How every layer from the seeded ones on changes, in execution order; layers that do not change are left out.

    Args:
        network: linearised.
        seeds: layer → change of its synaptic sum; consumed (overwritten).
        bends: second derivatives by layer; None: no curvature.
        keep: layers whose changes of spikes are asked for.
        membranes: layers whose changes of membranes are asked for.
    """
    asked = _Asked(frozenset(keep), frozenset(membranes))
    changed = _Changes()
    for component in network.components:
        stages = [network.stages[index] for index in component]
        if network.reads is not None and stages[0].name == network.output:
            outputs = _contracted_outputs(network, stages[0], changed, seeds)
            if outputs is not None:
                yield stages[0], Tangent(outputs=outputs)
            continue
        inside = {stage.name for stage in stages}
        sums = {stage.name: _incoming(network, stage, inside, changed.over_time, seeds) for stage in stages}
        if all(total is None for total in sums.values()):
            continue
        if any(w.connection.source in inside for stage in stages for w in stage.wires):
            given = {name: None if change is None else as_tensor(change) for name, change in sums.items()}
            found = _step_together(network, stages, given, bends)
        else:
            total = sums[stages[0].name]
            if total is None:
                raise ValueError("a derivative was asked of a layer that has none")
            found = {stages[0].name: _pushed(network, stages[0], total, bends, asked, changed)}
        for stage in stages:
            tangent = found[stage.name]
            if tangent.n is not None:
                changed.over_time[stage.name] = tangent.n
                if stage.name not in changed.summed and network.reads is not None and _read(network, stage):
                    changed.summed[stage.name] = torch.tensordot(network.reads.to(tangent.n.dtype), tangent.n, 1)
            yield stage, tangent


def _given(value: Tensor | None) -> Tensor:
    if value is None:
        raise ValueError("a derivative was asked of a layer that has none")
    return value


def _read(network: LinearNetwork, stage: LinearStage) -> bool:
    """Whether the output layer reads a layer's spikes."""
    return any(w.connection.source == stage.name for w in network.stage(network.output).wires)


def _seen_over_time(network: LinearNetwork, stage: LinearStage) -> bool:
    """Whether a layer needs the spikes of another step by step."""
    readers = {s.name for s in network.stages for w in s.wires if w.connection.source == stage.name}
    return bool(readers - ({network.output} if network.reads is not None else set()))


def _incoming(
    network: LinearNetwork,
    stage: LinearStage,
    inside: set[str],
    changed: Mapping[str, Tensor],
    seeds: Mapping[str, Change],
) -> Change | None:
    """What changes a layer's sum; of one connection alone the layer makes it for itself."""
    total = seeds.get(stage.name)
    arriving = [w for w in stage.wires if w.connection.source in changed and w.connection.source not in inside]
    if total is None and len(arriving) == 1 and not inside - {stage.name}:
        sums = arriving[0].delivers(changed[arriving[0].connection.source])
        if sums is not None:
            return sums
    for wire in arriving:
        late = wire.late(changed[wire.connection.source])
        value = wire.push(late.flatten(0, 1)).reshape(network.steps, network.batch, *stage.shape)
        total = value if total is None else as_tensor(total).add_(value)
    return total


def _contracted_outputs(
    network: LinearNetwork, stage: LinearStage, changed: _Changes, seeds: Mapping[str, Change]
) -> Tensor | None:
    """Changes of a linear readout ``[batch, output]``, summed over time before they are weighed."""
    reads = _given(network.reads)
    total: Tensor | None = None
    if stage.name in seeds:
        total = torch.tensordot(reads, as_tensor(seeds[stage.name]), 1)
    for wire in stage.wires:
        if wire.connection.source in changed.summed:
            value = wire.push(changed.summed[wire.connection.source]).reshape(network.batch, *stage.shape)
            total = value if total is None else total + value
    return None if total is None else total.flatten(1)


def _pushed(
    network: LinearNetwork,
    stage: LinearStage,
    total: Change,
    bends: Mapping[str, Bends] | None,
    asked: _Asked,
    changed: _Changes,
) -> Tangent:
    """A layer alone."""
    is_output = stage.name == network.output
    counts = is_output and network.readout == "spike_count"
    read = network.reads if network.reads is not None and _read(network, stage) else None
    if counts:
        read = stage.path.u.new_ones(network.steps)
    wanted = Wanted(
        u=(is_output and not counts) or stage.name in asked.membranes,
        n=stage.name in asked.spikes or _seen_over_time(network, stage),
        read=read,
    )
    found = push(stage.neurons, stage.path.u, total, None if bends is None else bends.get(stage.name), wanted)
    if found.contracted is not None and not counts:
        changed.summed[stage.name] = found.contracted
    outputs = None
    if is_output:
        outputs = _given(found.contracted).flatten(1) if counts else _read_membrane(network, stage, _given(found.u))
    return Tangent(found.u, found.n, found.curvature, outputs)


def _read_membrane(network: LinearNetwork, stage: LinearStage, u: Tensor) -> Tensor:
    end = stage.neurons.end
    membrane = u if end is None else u * end
    if network.readout == "membrane_last":
        return membrane[-1].flatten(1)
    return (membrane if network.read is None else membrane * network.read).sum(0).flatten(1)


def _step_together(
    network: LinearNetwork,
    stages: list[LinearStage],
    sums: Mapping[str, Tensor | None],
    bends: Mapping[str, Bends] | None,
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
            out[name][t] = u if t == 0 else torch.addcmul(u, out[name][t - 1], neurons.carry_at(t))
            if neurons.spike is not None:
                torch.mul(out[name][t], neurons.spike[t], out=spikes[name][t])
    found = {}
    for stage in stages:
        name, n = stage.name, None if stage.neurons.spike is None else spikes[stage.name]
        bent = None if bends is None else curvature_of(bends.get(name), out[name], drives[name])
        outputs = None
        if name == network.output:
            counts = network.readout == "spike_count"
            outputs = _given(n).sum(0).flatten(1) if counts else _read_membrane(network, stage, out[name])
        found[name] = Tangent(out[name], n, bent, outputs)
    return found


def curvature_of(bent: Bends | None, u: Tensor, drive: Tensor) -> Tensor | None:
    """``Σ bend·du² (+ cross·du·ddrive)`` of one layer, ``[batch]``; None: it does not bend."""
    if bent is None or bent.bend is None:
        return None
    total = (bent.bend * u.square()).flatten(2).sum((0, 2), dtype=torch.float64)
    if bent.cross is not None:
        total = total + (bent.cross * shifted(u) * drive).flatten(2).sum((0, 2), dtype=torch.float64)
    return total


def _at(factor: Tensor, t: int, like: Tensor) -> Tensor:
    return factor[t] if varies_with_time(factor, like) else factor
