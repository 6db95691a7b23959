"""First derivatives back through a linearised network: adjoints of the readout, or of membranes. No graph, no weights.

Axes ``[time, batch, neuron...]``. Where the readout is linear, or counts spikes, its adjoint is a product of a weight
per step and a value per sample: no array over time is made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.curvature.linear_network import LinearNetwork, LinearStage
from engine.curvature.wires import Wire
from engine.kernels.layout import laid_out
from engine.kernels.linear_scan import varies_with_time
from engine.kernels.step import needed
from engine.kernels.tangent_scan import SpikeAdjoint, pull


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
            return needed(self.sums)
        return self.time.reshape(-1, *[1] * self.sample.dim()) * self.sample


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


def sum_adjoint(network: LinearNetwork, seeds: Mapping[str, Tensor], target: str) -> Tensor:
    """Derivative of ``Σ seeds·u`` by the synaptic sum of a layer, ``[time, batch, neuron...]``.

    Args:
        network: linearised; no layer from the target on lies on a cycle.
        seeds: layer → adjoint of its membrane before the spike.
        target: the layer.

    Raises:
        ValueError: a cycle, or nothing that the target reaches is seeded.
    """
    into: dict[str, SpikeAdjoint] = {}
    for component in reversed(network.components):
        stage = network.stages[component[0]]
        if stage.name not in seeds and stage.name not in into:
            continue
        if len(component) > 1 or any(w.connection.source == stage.name for w in stage.wires):
            raise ValueError(f"layer {stage.name!r} lies on a cycle")
        plain = replace(stage.neurons, end=None)
        acc, _ = pull(plain, stage.path.u, into.get(stage.name, SpikeAdjoint()), seeds.get(stage.name), membranes=False)
        if stage.name == target:
            return acc
        _spread(network, stage, Adjoint(acc, None, SpikeAdjoint(), None), {stage.name}, into)
    raise ValueError(f"nothing that layer {target!r} reaches is seeded")


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


def _at(factor: Tensor, t: int, like: Tensor) -> Tensor:
    return factor[t] if varies_with_time(factor, like) else factor
