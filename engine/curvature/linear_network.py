"""A network linearised along the trajectories of a block of samples: one run, from which all derivatives follow.

Axes ``[time, batch, neuron...]``. Nothing here records a graph. Source: PERFORMANCE section 0; the recurrences of a
layer are in :mod:`engine.kernels.linear_neurons`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.curvature.objective import Objective
from engine.curvature.wires import Wire, wire_of
from engine.kernels.layout import channels_last
from engine.kernels.linear_neurons import LinearNeurons, Trajectory, linearise_neurons
from engine.kernels.rules import NeuronRule
from engine.kernels.step import SpikeGradient
from engine.kernels.tangent_scan import SpikeAdjoint, pull
from engine.network.model import INPUT
from engine.network.prepare import prepare
from engine.network.simulate import Prepared
from engine.network.trajectories import record_trajectories
from engine.specs.dynamics import Readout


@dataclass(frozen=True)
class LinearStage:
    """One neuron layer: its rule, path, first derivatives, and the wires into it."""

    name: str
    shape: tuple[int, ...]
    rule: NeuronRule
    path: Trajectory
    neurons: LinearNeurons
    wires: tuple[Wire, ...]


@dataclass(frozen=True)
class LinearNetwork:
    """All layers in execution order.

    ``outputs`` ``[batch, output]`` is the readout; ``seen`` what every weighted connection's weight multiplies,
    ``[time·batch, *mapped_shape]``; ``read`` the weight of each step's membrane in the readout (None: 1 or unused).
    ``reads`` ``[time]``: the weight of each step's synaptic sum in the readout, where the output layer is one linear
    filter for all its neurons, so that it can be summed over time first; None: it is not.
    """

    stages: tuple[LinearStage, ...]
    components: tuple[tuple[int, ...], ...]
    output: str
    readout: Readout
    outputs: Tensor
    seen: Mapping[str, Tensor]
    read: Tensor | None
    reads: Tensor | None
    gradient: SpikeGradient
    steps: int
    batch: int

    def stage(self, name: str) -> LinearStage:
        """The layer called ``name``."""
        return next(stage for stage in self.stages if stage.name == name)

    def wire(self, name: str) -> Wire:
        """The connection called ``name``."""
        return next(w for stage in self.stages for w in stage.wires if w.connection.name == name)


def linearise(objective: Objective, x: Tensor, *, dtype: torch.dtype = torch.float64) -> LinearNetwork:
    """Run a block and keep what derivatives need.

    Args:
        objective: network, surrogate, reset gradient.
        x: frames ``[time, block, *input_shape]``, in the dtype that the network runs in.
        dtype: of the derivatives; spikes are those of x's dtype.
    """
    prepared = prepare(objective.network, device=objective.device, dtype=x.dtype)
    gradient = SpikeGradient(objective.surrogate.slope, objective.reset_gradient == "through")
    with torch.no_grad():
        run = record_trajectories(prepared, x)
        spikes = {INPUT: x.to(dtype)}
        stages = []
        for stage in prepared.stages:
            saved = run.layers[stage.name]
            raw, tested = (None if t is None else channels_last(t.to(dtype)) for t in (saved.raw, saved.tested))
            path = Trajectory(channels_last(saved.n.to(dtype)), channels_last(saved.u.to(dtype)), raw, tested)
            rule = _rule_as(stage.rule, dtype)
            spikes[stage.name] = path.n
            wires = tuple(wire_of(s, stage.shape, dtype) for s in stage.synapses)
            neurons = linearise_neurons(rule, path, gradient)
            stages.append(LinearStage(stage.name, stage.shape, rule, path, neurons, wires))
        return LinearNetwork(
            stages=tuple(stages),
            components=prepared.components,
            output=prepared.output,
            readout=prepared.readout,
            outputs=run.counts,
            seen=_seen(tuple(stages), spikes),
            read=_read_weights(prepared, run.membrane, dtype),
            reads=_step_weights(prepared, stages),
            gradient=gradient,
            steps=x.shape[0],
            batch=x.shape[1],
        )


def reached_from(network: LinearNetwork, name: str) -> set[str]:
    """Layers that a layer feeds, itself included, delayed connections too."""
    reached = {name}
    for _ in network.stages:
        for stage in network.stages:
            if any(wire.connection.source in reached for wire in stage.wires):
                reached.add(stage.name)
    return reached


def feeds_itself(network: LinearNetwork, wire: Wire) -> bool:
    """Whether a connection's source depends on its target."""
    return wire.connection.source in reached_from(network, wire.connection.target)


def shifted(value: Tensor) -> Tensor:
    """What a delayed connection sees: the step before, 0 at the start."""
    moved = torch.zeros_like(value)
    moved[1:] = value[:-1]
    return moved


def _seen(stages: tuple[LinearStage, ...], spikes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    seen = {}
    for stage in stages:
        for wire in stage.wires:
            if wire.weight is not None:
                source = wire.late(spikes[wire.connection.source])
                seen[wire.connection.name] = wire.map(source.flatten(0, 1))
    return seen


def _read_weights(prepared: Prepared, membrane: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Of a maximum: ties share it, as autograd has it."""
    if prepared.readout != "membrane_max" or membrane is None:
        return None
    top = (membrane == membrane.amax(0)).to(dtype)
    return top / top.sum(0)


def _step_weights(prepared: Prepared, stages: list[LinearStage]) -> Tensor | None:
    """``reads``: the readout's adjoint of one neuron's synaptic sum."""
    stage = next(s for s in stages if s.name == prepared.output)
    neurons, late = stage.neurons, [w for w in stage.wires if w.connection.delayed or w.connection.delay is not None]
    factors = [f for f in (neurons.carry, neurons.current_leak) if f is not None]
    alone = not any(w.connection.source == stage.name for w in stage.wires) and all(
        prepared.stages[index].name != stage.name or len(component) == 1
        for component in prepared.components
        for index in component
    )
    linear = neurons.spike is None and neurons.gate is None and all(f.numel() == 1 for f in factors)
    if late or not alone or not linear or prepared.readout not in ("membrane_sum", "membrane_last"):
        return None
    one = stage.path.u.new_zeros(len(stage.path.u), 1, 1)
    one[-1 if prepared.readout == "membrane_last" else slice(None)] = 1.0
    scalar = replace(neurons, carry=neurons.carry.reshape(()))
    if scalar.current_leak is not None:
        scalar = replace(scalar, current_leak=scalar.current_leak.reshape(()))
    return pull(scalar, one, SpikeAdjoint(), one, membranes=False)[0].flatten()


def _rule_as(rule: NeuronRule, dtype: torch.dtype) -> NeuronRule:
    """The rule with its tensors in another dtype."""
    fields: dict[str, Tensor] = {}
    for name in ("bias", "bias_i", "fire_at", "reset_sub", "reset_to", "floor", "start"):
        value = getattr(rule, name)
        if value is not None:
            fields[name] = value.detach().to(dtype)
    return replace(rule, **fields)  # type: ignore[arg-type]
