"""First derivatives through a linearised network: forward (tangents) and backward (adjoints). No graph, no weights.

Axes ``[time, batch, neuron...]``; a seed of a layer is a change of its synaptic sum. Where the readout is linear, or
counts spikes, what is read is summed over time before it meets the last weights: a sweep costs one small product there
instead of one a step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.curvature.linear_network import LinearNetwork, LinearStage, shifted
from engine.curvature.wires import Wire
from engine.kernels.layout import laid_out
from engine.kernels.linear_neurons import Bends
from engine.kernels.linear_scan import varies_with_time
from engine.kernels.tangent_scan import SpikeAdjoint, Wanted, pull, push


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


@dataclass(frozen=True)
class Adjoint:
    """Derivatives of a scalar by one layer: synaptic sum, membrane (None: not asked), spikes, membrane in the readout.

    The sum's is ``time_t·sample`` where no array over time was needed: :attr:`acc` makes one.
    """

    sums: Tensor | None
    u: Tensor | None
    n: SpikeAdjoint
    v: Tensor | None
    time: Tensor | None = None
    sample: Tensor | None = None

    @property
    def acc(self) -> Tensor:
        """``[time, batch, neuron...]``."""
        if self.time is None or self.sample is None:
            return _given(self.sums)
        return self.time.reshape(-1, *[1] * self.sample.dim()) * self.sample


@dataclass
class _Changes:
    """Of spikes, by layer: over time, and summed with the weights that the readout gives the steps."""

    over_time: dict[str, Tensor] = field(default_factory=dict)
    summed: dict[str, Tensor] = field(default_factory=dict)


def tangents(
    network: LinearNetwork,
    seeds: Mapping[str, Tensor],
    bends: Mapping[str, Bends] | None = None,
    keep: Collection[str] = (),
) -> Iterator[tuple[LinearStage, Tangent]]:
    """How every layer from the seeded ones on changes, in execution order; layers that do not change are left out.

    Args:
        network: linearised.
        seeds: layer → change of its synaptic sum; consumed (overwritten).
        bends: second derivatives by layer; None: no curvature.
        keep: layers whose changes of spikes are asked for.
    """
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
            found = _step_together(network, stages, sums, bends)
        else:
            found = {stages[0].name: _pushed(network, stages[0], _given(sums[stages[0].name]), bends, keep, changed)}
        for stage in stages:
            tangent = found[stage.name]
            if tangent.n is not None:
                changed.over_time[stage.name] = tangent.n
                if stage.name not in changed.summed and network.reads is not None and _read(network, stage):
                    changed.summed[stage.name] = torch.tensordot(network.reads.to(tangent.n.dtype), tangent.n, 1)
            yield stage, tangent


def adjoints(
    network: LinearNetwork,
    outputs: Tensor,
    visit: Callable[[LinearStage, Adjoint], None],
    *,
    membranes: bool = False,
) -> None:
    """Derivatives of ``Σ outputs·z`` by every layer, from the last to the first.

    Args:
        network: linearised.
        outputs: seed ``[batch, output]``.
        visit: called with every layer that reaches the outputs.
        membranes: whether adjoints of membranes are asked for.
    """
    into: dict[str, SpikeAdjoint] = {}
    v = _readout_adjoint(network, outputs, into)
    for component in reversed(network.components):
        stages = [network.stages[index] for index in component]
        inside = {stage.name for stage in stages}
        if not any(s.name in into or s.name == network.output for s in stages):
            continue
        loops = any(w.connection.source in inside for stage in stages for w in stage.wires)
        ends = {s.name: v if s.name == network.output else None for s in stages}
        if network.reads is not None and stages[0].name == network.output:
            sample = outputs.to(stages[0].path.u.dtype).reshape(network.batch, *stages[0].shape)
            found = {network.output: Adjoint(None, None, SpikeAdjoint(), None, network.reads, sample)}
        elif not loops:
            stage = stages[0]
            n = into.get(stage.name, SpikeAdjoint())
            acc, u = pull(stage.neurons, stage.path.u, n, ends[stage.name], membranes=membranes)
            found = {stage.name: Adjoint(acc, u, n, ends[stage.name])}
        else:
            found = _step_back_together(network, stages, into, ends)
        for stage in reversed(stages):
            visit(stage, found[stage.name])
            _spread(network, stage, found[stage.name], inside, into)


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


def _contracted_outputs(
    network: LinearNetwork, stage: LinearStage, changed: _Changes, seeds: Mapping[str, Tensor]
) -> Tensor | None:
    """Changes of a linear readout ``[batch, output]``, summed over time before they are weighed."""
    reads = _given(network.reads)
    total: Tensor | None = None
    if stage.name in seeds:
        total = torch.tensordot(reads, seeds[stage.name], 1)
    for wire in stage.wires:
        if wire.connection.source in changed.summed:
            value = wire.push(changed.summed[wire.connection.source]).reshape(network.batch, *stage.shape)
            total = value if total is None else total + value
    return None if total is None else total.flatten(1)


def _pushed(
    network: LinearNetwork,
    stage: LinearStage,
    total: Tensor,
    bends: Mapping[str, Bends] | None,
    keep: Collection[str],
    changed: _Changes,
) -> Tangent:
    """A layer alone."""
    is_output = stage.name == network.output
    counts = is_output and network.readout == "spike_count"
    read = network.reads if network.reads is not None and _read(network, stage) else None
    if counts:
        read = total.new_ones(network.steps)
    wanted = Wanted(u=is_output and not counts, n=stage.name in keep or _seen_over_time(network, stage), read=read)
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


def _readout_adjoint(network: LinearNetwork, outputs: Tensor, into: dict[str, SpikeAdjoint]) -> Tensor | None:
    """Of the output's membrane over time; counts of spikes, and linear readouts, need no array."""
    if network.reads is not None:
        return None
    stage = network.stage(network.output)
    seed = outputs.to(stage.path.u.dtype).reshape(network.batch, *stage.shape)
    if network.readout == "spike_count":
        if stage.neurons.spike is not None:
            into[stage.name] = SpikeAdjoint(None, seed.new_ones(network.steps), seed)
        return None
    if network.readout == "membrane_last":
        last = torch.zeros_like(stage.path.u)
        last[-1] = seed
        return last
    return seed.expand(network.steps, *seed.shape) if network.read is None else seed * network.read


def _step_back_together(
    network: LinearNetwork,
    stages: list[LinearStage],
    into: Mapping[str, SpikeAdjoint],
    membranes: Mapping[str, Tensor | None],
) -> dict[str, Adjoint]:
    """Layers on a cycle, from the last step to the first; what they send each other gathers in ``n``."""
    like = {s.name: s.path.u for s in stages}
    n = {name: into.get(name, SpikeAdjoint()).at(like[name]) for name in like}
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
                g.addcmul_(u[name][t + 1], neurons.carry_at(t + 1))
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
        s.name: Adjoint(
            acc[s.name],
            u[s.name],
            SpikeAdjoint(n[s.name] if s.neurons.spike is not None else None),
            membranes[s.name],
        )
        for s in stages
    }


def _spread(
    network: LinearNetwork, stage: LinearStage, adjoint: Adjoint, inside: set[str], into: dict[str, SpikeAdjoint]
) -> None:
    """Send the adjoint of a layer's sum back to the layers that feed it from outside its component."""
    known = {s.name: s for s in network.stages}
    for wire in stage.wires:
        source = wire.connection.source
        if source in inside or source not in known or known[source].neurons.spike is None:
            continue
        before, like = into.get(source, SpikeAdjoint()), known[source].path.u
        if (
            adjoint.sample is not None and adjoint.time is not None
        ):  # a linear readout: of one sample, whatever the step
            row = wire.pull(adjoint.sample).reshape(network.batch, *wire.connection.source_shape)
            into[source] = SpikeAdjoint(
                before.full, adjoint.time, row if before.sample is None else before.sample + row
            )
            continue
        into[source] = SpikeAdjoint(
            _add(before.full, _sent(network, wire, adjoint.acc), like), before.time, before.sample
        )


def _sent(network: LinearNetwork, wire: Wire, acc: Tensor) -> Tensor:
    value = wire.pull(acc.flatten(0, 1)).reshape(network.steps, network.batch, *wire.connection.source_shape)
    return wire.early(value)


def _add(before: Tensor | None, value: Tensor, like: Tensor) -> Tensor:
    return laid_out(value, like) if before is None else before + value
