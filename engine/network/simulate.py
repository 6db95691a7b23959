"""The one time loop: a prepared network, float or integer, over all steps of a batch (DESIGN 4).

Axes ``[time, batch, neuron...]``. Whatever is feed-forward runs time-batched (one GEMM or convolution over all
steps); only the neurons' recurrence scans time. Layers on a common cycle form a component and step together; a single
layer with linear recurrent weights, the usual case, takes the fast scan.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.kernels.neuron_scan import ScanResult, neuron_scan
from engine.kernels.rules import NeuronRule
from engine.kernels.step import NeuronState, SpikeGradient, neuron_step, start_state
from engine.network.linear_readout import contract_gradient, contract_readout
from engine.network.model import INPUT, Connection
from engine.network.readout import read_out
from engine.network.synapse import Synapse, apply_synapse, weigh
from engine.specs.dynamics import Readout
from engine.specs.steps import Surrogate


@dataclass(frozen=True)
class Stage:
    """One neuron layer with what flows into it."""

    name: str
    shape: tuple[int, ...]
    rule: NeuronRule
    synapses: tuple[Synapse, ...]


@dataclass(frozen=True)
class Prepared:
    """A network ready to run: stages in execution order, grouped into components that share a cycle."""

    stages: tuple[Stage, ...]
    components: tuple[tuple[int, ...], ...]
    output: str
    readout: Readout
    dtype: torch.dtype
    device: torch.device
    sum_dtype: torch.dtype | None = None  # in which a readout sums over time; None: as the state


@dataclass(frozen=True)
class Trace:
    """Outcome of a run.

    ``counts`` ``[batch, outputs]``: the readout, spike counts unless the profile reads the membrane. ``spikes``: the
    recorded layers, each ``[time, batch, neuron...]``. ``states``: every layer's state after the last step.
    """

    counts: Tensor
    spikes: dict[str, Tensor] = field(default_factory=dict)
    states: dict[str, NeuronState] = field(default_factory=dict)


def run(
    prepared: Prepared,
    x: Tensor,
    *,
    surrogate: Surrogate | None = None,
    reset_gradient: str = "through",
    record: Iterable[str] = (),
    known: Mapping[str, Tensor] | None = None,
) -> Trace:
    """Simulate a batch.

    Args:
        prepared: from :func:`engine.network.prepare.prepare` or the integer program's training form.
        x: input ``[time, batch, *input_shape]``, any numeric dtype.
        surrogate: how spikes are differentiated; None computes values alone.
        reset_gradient: ``through`` or ``detached``.
        record: names of layers whose spikes are kept; ``"*"`` keeps all.
        known: spikes ``[time, batch, neuron...]`` of layers that an earlier run left and nothing has changed since;
            they are taken as they are and not recorded again.

    Raises:
        ValueError: the output layer is among the known, or a part of a cycle without the rest.
    """
    known = known or {}
    gradient = None if surrogate is None else SpikeGradient(surrogate.slope, reset_gradient == "through")
    wanted = set(record)
    seen: dict[str, Tensor] = {INPUT: x, **known}
    results: dict[str, ScanResult] = {}
    for component in prepared.components:
        stages = [prepared.stages[index] for index in component]
        if any(stage.name in known for stage in stages):
            if prepared.output in known or not all(stage.name in known for stage in stages):
                raise ValueError(f"cannot take {', '.join(known)} as known: the output, or a part of a cycle")
            continue
        if gradient is not None and (total := _contracted(prepared, component, seen, wanted)) is not None:
            return Trace(total, *_kept(results, wanted))
        for name, result in _run_component(prepared, stages, seen, gradient).items():
            results[name] = result
            seen[name] = result.spikes
    out = results[prepared.output]
    total = read_out(prepared.readout, out, prepared.sum_dtype)
    source = _linear_source(prepared, prepared.components[-1])
    if gradient is not None and source is not None and out.membrane is not None:
        total = contract_gradient(prepared.stages[prepared.components[-1][0]], seen[source], out.membrane, total)
    return Trace(total.flatten(1), *_kept(results, wanted))


def _kept(results: Mapping[str, ScanResult], wanted: set[str]) -> tuple[dict[str, Tensor], dict[str, NeuronState]]:
    spikes = {name: r.spikes for name, r in results.items() if name in wanted or "*" in wanted}
    return spikes, {name: r.final for name, r in results.items()}


def _contracted(
    prepared: Prepared, component: tuple[int, ...], seen: Mapping[str, Tensor], wanted: set[str]
) -> Tensor | None:
    """The readout at once, where it is the last layer, linear, and nobody wants to see it."""
    stage = prepared.stages[component[0]]
    source = _linear_source(prepared, component)
    if source is None or "*" in wanted or stage.name in wanted:
        return None
    return contract_readout(stage, seen[source], prepared.dtype)


def _linear_source(prepared: Prepared, component: tuple[int, ...]) -> str | None:
    """The one source of the last layer, where that is read by its membrane's sum; None where it is another layer."""
    stage = prepared.stages[component[0]]
    if component != prepared.components[-1] or len(component) > 1 or stage.name != prepared.output:
        return None
    if prepared.readout != "membrane_sum" or len(stage.synapses) != 1:
        return None
    source = stage.synapses[0].connection.source
    return None if source == stage.name else source


def _run_component(
    prepared: Prepared, stages: list[Stage], seen: Mapping[str, Tensor], gradient: SpikeGradient | None
) -> dict[str, ScanResult]:
    inside = {stage.name for stage in stages}
    keep = {stage.name: stage.name == prepared.output and prepared.readout != "spike_count" for stage in stages}
    if len(stages) == 1:
        stage = stages[0]
        loops = [s for s in stage.synapses if s.connection.source in inside]
        if all(is_dense(s, stage) for s in loops):
            return {stage.name: scan_stage(prepared, stage, loops, seen, gradient, keep[stage.name])}
    currents = {stage.name: outer_current(prepared, stage, inside, seen) for stage in stages}
    return _step_together(prepared, stages, currents, gradient, keep)


def scan_stage(
    prepared: Prepared,
    stage: Stage,
    loops: list[Synapse],
    seen: Mapping[str, Tensor],
    gradient: SpikeGradient | None,
    keep_membrane: bool,
) -> ScanResult:
    """One layer over all steps. A single synapse's sums go into the scan as they are, its gain is applied there."""
    outer = [synapse for synapse in stage.synapses if synapse.connection.source != stage.name]
    weights = [dense_weight(synapse, prepared.dtype) for synapse in loops]
    recurrent = functools.reduce(torch.add, [weight for weight, _ in weights]) if weights else None
    biases = [bias for _, bias in weights if bias is not None]
    gain = None
    if len(outer) == 1 and not biases:
        x = seen[INPUT]
        current = weigh(outer[0], _arriving(outer[0], seen)).reshape(*x.shape[:2], *stage.shape)
        gain = outer[0].gain
        if current.dtype not in (torch.float32, prepared.dtype):
            current = current.to(prepared.dtype)
    else:
        current = functools.reduce(torch.add, biases, outer_current(prepared, stage, {stage.name}, seen))
    return neuron_scan(
        current,
        stage.rule,
        gain=gain,
        dtype=prepared.dtype,
        recurrent=recurrent,
        gradient=gradient,
        keep_membrane=keep_membrane,
    )


def _arriving(synapse: Synapse, seen: Mapping[str, Tensor]) -> Tensor:
    """The spikes that a synapse weighs, ``[time·batch, *source_shape]``."""
    return late(synapse.connection, seen[synapse.connection.source]).flatten(0, 1)


def outer_current(prepared: Prepared, stage: Stage, inside: set[str], seen: Mapping[str, Tensor]) -> Tensor:
    """Sum of what flows into a layer from outside its component, ``[time, batch, *shape]``."""
    x = seen[INPUT]
    steps, batch = x.shape[:2]
    total: Tensor | None = None
    for synapse in stage.synapses:
        if synapse.connection.source in inside:
            continue
        value = apply_synapse(synapse, _arriving(synapse, seen), stage.shape, prepared.dtype)
        value = value.reshape(steps, batch, *stage.shape)
        total = value if total is None else total + value
    if total is None:
        total = torch.zeros(steps, batch, *stage.shape, dtype=prepared.dtype, device=prepared.device)
    return total


def late(connection: Connection, values: Tensor) -> Tensor:
    """What a connection sees at every step: values ``[time, batch, *source_shape]`` of earlier steps, zeros before."""
    steps = int(connection.delayed)
    if connection.delay is None:
        return _shift(values, steps)
    delay = torch.tensor(connection.delay, device=values.device)
    total = torch.zeros_like(values)
    for d in torch.unique(delay).tolist():
        total = torch.where(delay == d, _shift(values, steps + int(d)), total)
    return total


def _shift(values: Tensor, steps: int) -> Tensor:
    """Values moved ``steps`` later, zeros in front."""
    if steps == 0:
        return values
    steps = min(steps, len(values))
    return torch.cat([torch.zeros_like(values[:steps]), values[: len(values) - steps]])


def value_now(connection: Connection, t: int, last: Tensor, history: Sequence[Tensor] | Tensor) -> Tensor:
    """What a connection within a cycle sees at step ``t``; ``history``: its source's spikes of all steps so far."""
    if connection.delay is None:
        return last if connection.delayed else history[t]
    delay = torch.tensor(connection.delay, device=last.device)
    total = torch.zeros_like(last)
    for d in torch.unique(delay).tolist():
        then = t - int(d) - int(connection.delayed)
        if then >= 0:
            total = torch.where(delay == d, history[then], total)
    return total


def is_dense(synapse: Synapse, stage: Stage) -> bool:
    """Whether a layer's synapse on itself is a plain matrix, which the scan takes along."""
    connection = synapse.connection
    plain = connection.kind == "linear" and not connection.before and not connection.after
    return plain and connection.delayed and connection.delay is None and len(stage.shape) == 1


def dense_weight(synapse: Synapse, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Its weight and bias with the gain in them; ValueError where it holds no weight."""
    if synapse.weight is None:
        raise ValueError(f"connection {synapse.connection.name!r} is linear but holds no weight")
    weight = synapse.weight.to(dtype)
    bias = None if synapse.bias is None else synapse.bias.to(dtype)
    if synapse.gain is None:
        return weight, bias
    return weight * synapse.gain.reshape(-1, 1), None if bias is None else bias * synapse.gain


def _step_together(
    prepared: Prepared,
    stages: list[Stage],
    currents: Mapping[str, Tensor],
    gradient: SpikeGradient | None,
    keep: Mapping[str, bool],
) -> dict[str, ScanResult]:
    """Layers that feed each other within a cycle: step by step, in execution order."""
    states = {s.name: start_state(s.rule, currents[s.name][0]) for s in stages}
    spikes: dict[str, list[Tensor]] = {s.name: [] for s in stages}
    membranes: dict[str, list[Tensor]] = {s.name: [] for s in stages}
    unbound = {name: current.unbind(0) for name, current in currents.items()}
    for t in range(len(unbound[stages[0].name])):
        last = {name: state.n for name, state in states.items()}
        for stage in stages:
            acc = unbound[stage.name][t]
            for synapse in stage.synapses:
                source = synapse.connection.source
                if source in states:
                    n = value_now(synapse.connection, t, last[source], spikes[source])
                    acc = acc + apply_synapse(synapse, n, stage.shape, prepared.dtype)
            states[stage.name] = neuron_step(stage.rule, states[stage.name], acc, gradient)
            spikes[stage.name].append(states[stage.name].n)
            if keep[stage.name]:
                membranes[stage.name].append(states[stage.name].v)
    return {
        s.name: ScanResult(
            torch.stack(spikes[s.name]),
            torch.stack(membranes[s.name]) if keep[s.name] else None,
            states[s.name],
        )
        for s in stages
    }
