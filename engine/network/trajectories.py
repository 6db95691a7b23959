"""A run that keeps every layer's path: what linearising a network needs. Axes ``[time, batch, neuron...]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.kernels.linear_neurons import Trajectory
from engine.kernels.neuron_scan import ScanResult, saving_scan
from engine.kernels.rules import NeuronRule
from engine.kernels.step import NeuronState, needed, neuron_step, reset_by, start_state
from engine.network.model import INPUT
from engine.network.readout import read_out
from engine.network.simulate import Prepared, Stage, dense_weight, is_dense, outer_current, value_now
from engine.network.synapse import apply_synapse


@dataclass(frozen=True)
class Recorded:
    """Every layer's path; the readout ``[batch, outputs]``; the output's membrane after every step, if it is read."""

    layers: dict[str, Trajectory]
    counts: Tensor
    membrane: Tensor | None


def record_trajectories(prepared: Prepared, x: Tensor) -> Recorded:
    """Simulate a batch without gradient and keep spikes and membranes.

    Args:
        prepared: a float network.
        x: input ``[time, batch, *input_shape]``.
    """
    seen: dict[str, Tensor] = {INPUT: x}
    layers: dict[str, Trajectory] = {}
    membrane: Tensor | None = None
    for component in prepared.components:
        stages = [prepared.stages[index] for index in component]
        inside = {stage.name for stage in stages}
        currents = {stage.name: outer_current(prepared, stage, inside, seen) for stage in stages}
        quick = _scan(prepared, stages[0], currents[stages[0].name]) if len(stages) == 1 else None
        found = _walk(prepared, stages, currents) if quick is None else {stages[0].name: quick}
        layers |= {name: path for name, (path, _) in found.items()}
        seen |= {name: path.n for name, (path, _) in found.items()}
        if prepared.output in found:
            membrane = found[prepared.output][1]
    last = seen[prepared.output][-1]
    result = ScanResult(seen[prepared.output], membrane, NeuronState(last, None, last))
    return Recorded(layers, read_out(prepared.readout, result).flatten(1), membrane)


def _scan(prepared: Prepared, stage: Stage, current: Tensor) -> tuple[Trajectory, Tensor | None] | None:
    """A layer alone, with its own dense weights at most, by the fast scan; None where it has no fast form."""
    loops = [s for s in stage.synapses if s.connection.source == stage.name]
    if stage.rule.residue_raises or not all(is_dense(s, stage) for s in loops):
        return None
    recurrent: Tensor | None = None
    for synapse in loops:
        weight, bias = dense_weight(synapse, prepared.dtype)
        recurrent = weight if recurrent is None else recurrent + weight
        current = current if bias is None else current + bias
    reads = stage.name == prepared.output and prepared.readout != "spike_count"
    out = saving_scan(current, stage.rule, recurrent, keep_membrane=reads)
    if out.saved is None:
        raise ValueError("the scan saved nothing")
    return Trajectory(out.spikes, out.saved.u, out.saved.raw), out.membrane


def _walk(
    prepared: Prepared, stages: list[Stage], currents: Mapping[str, Tensor]
) -> dict[str, tuple[Trajectory, Tensor | None]]:
    """Layers of one component, step by step: path and membrane after every step."""
    states = {s.name: start_state(s.rule, currents[s.name][0]) for s in stages}
    paths = {s.name: _empty(s.rule, currents[s.name]) for s in stages}
    membranes = {s.name: torch.empty_like(currents[s.name]) for s in stages}
    for t in range(len(currents[stages[0].name])):
        last = {name: state.n for name, state in states.items()}
        for stage in stages:
            acc = currents[stage.name][t]
            for synapse in stage.synapses:
                source = synapse.connection.source
                if source in states:
                    n = value_now(synapse.connection, t, last[source], paths[source].n)
                    acc = acc + apply_synapse(synapse, n, stage.shape, prepared.dtype)
            states[stage.name] = _step(stage.rule, states[stage.name], acc, paths[stage.name], t)
            membranes[stage.name][t] = states[stage.name].v
    return {s.name: (paths[s.name], membranes[s.name]) for s in stages}


def _empty(rule: NeuronRule, current: Tensor) -> Trajectory:
    drops = rule.drop_input and rule.resets != "none"
    return Trajectory(
        n=torch.zeros_like(current),
        u=torch.empty_like(current),
        raw=torch.empty_like(current) if drops else None,
        tested=torch.empty_like(current) if rule.residue_raises and rule.fire_at is not None else None,
    )


def _step(rule: NeuronRule, state: NeuronState, acc: Tensor, path: Trajectory, t: int) -> NeuronState:
    """:func:`neuron_step` with a look at the membrane before the spike's reset, and before an input is dropped."""
    if path.raw is not None:
        path.raw[t] = neuron_step(replace(rule, drop_input=False, floor=None), state, acc, None).v
    if rule.resets == "none" or rule.timing == "next_step":
        after = neuron_step(rule, state, acc, None)
        path.u[t] = after.v
    else:
        free = neuron_step(replace(rule, reset="none"), state, acc, None)
        path.u[t] = free.v
        after = NeuronState(reset_by(rule, free.v, free.n), free.i, free.n)
    if rule.fire_at is not None:
        path.n[t] = after.n
    if path.tested is not None and rule.fire_at is not None:
        path.tested[t] = path.u[t] - (state.v > rule.fire_at) * needed(rule.reset_sub)
    return after
