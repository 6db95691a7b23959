"""The reference runner: a program over all steps of a batch, plain int64 NumPy.

Axes ``[time, sample, neuron...]`` inside; callers see ``[sample, time, neuron...]``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ProgramError
from runtime.program import INPUT, Connection, IntArray, Layer, Program
from runtime.step import State, start_state, step
from runtime.sums import synaptic_sum

LARGEST = np.iinfo(np.int64).max
CHUNK_VALUES = 1 << 23  # neuron-steps of the largest layer held at a time: 64 MiB of int64

__all__ = ["State", "Trace", "run"]


@dataclass(frozen=True)
class Trace:
    """Outcome of a run.

    ``counts`` int64 ``[sample, output]``: spikes over all steps, or the membrane readout in state units. ``spikes``
    (empty unless recorded): per layer uint8 or uint16 ``[sample, time, neuron...]``. ``states``: after the last step.
    ``clamped``: input values that were outside the declared range. ``saturated``: per layer, how often a membrane or
    current left the state's range and was limited (points 2, 4 and 7). ``history`` (empty unless asked for): per layer
    the state after every step.
    """

    counts: IntArray
    spikes: dict[str, NDArray[Any]]
    states: dict[str, State]
    clamped: int
    saturated: dict[str, int]
    history: dict[str, tuple[State, ...]] = field(default_factory=dict)


def run(program: Program, x: NDArray[Any], record: bool = True, history: bool = False) -> Trace:
    """Run a batch of samples.

    Args:
        program: from :func:`runtime.read_program`.
        x: integers ``[sample, time, *input_shape]``, any integer dtype; clamped to the program's input range. Analogue
            values become integers by ``program.input.integers`` first.
        record: keep the spikes of every layer and step.
        history: keep the state of every layer after every step, in whole int64: for debugging and comparisons.

    Raises:
        ProgramError: ``x`` does not hold integers, or its shape does not fit.
    """
    x = np.asarray(x)
    if x.dtype.kind not in "biu":
        raise ProgramError(f"input must hold integers, found dtype {x.dtype}")
    if x.ndim < 2 or x.shape[2:] != program.input.shape or 0 in x.shape[:2]:
        raise ProgramError(f"input must be [sample, time, {program.input.shape}], not empty, found shape {x.shape}")
    largest = x.shape[1] * max(prod(shape) for shape in (program.input.shape, *(la.shape for la in program.layers)))
    size = max(1, CHUNK_VALUES // largest)
    parts = [_run_chunk(program, x[first : first + size], record, history) for first in range(0, len(x), size)]
    names = [layer.name for layer in program.layers]
    return Trace(
        counts=np.concatenate([part.counts for part in parts]),
        spikes={name: np.concatenate([part.spikes[name] for part in parts]) for name in names if record},
        states={name: _joined([part.states[name] for part in parts]) for name in names},
        clamped=sum(part.clamped for part in parts),
        saturated={name: sum(part.saturated[name] for part in parts) for name in names},
        history={
            name: tuple(_joined(list(states)) for states in zip(*(part.history[name] for part in parts), strict=True))
            for name in names
            if history
        },
    )


def _run_chunk(program: Program, x: NDArray[Any], record: bool, history: bool) -> Trace:
    wide = (np.minimum(x, np.uint64(LARGEST)) if x.dtype == np.uint64 else x).astype(np.int64)
    inside = np.clip(wide, program.input.lo, program.input.hi)
    clamped = int(np.count_nonzero(inside != wide))
    seen: dict[str, NDArray[Any]] = {INPUT: np.swapaxes(inside, 0, 1)}  # [time, sample, ...]
    states: dict[str, State] = {}
    lost: dict[str, int] = {}
    past: dict[str, tuple[State, ...]] = {}
    counts: IntArray | None = None
    for block in _blocks(program):
        for layer, done in zip(block, _run_block(program, block, seen, history), strict=True):
            seen[layer.name] = done.spikes
            states[layer.name] = done.state
            lost[layer.name] = done.saturated
            past[layer.name] = done.history
            if layer.name == program.output:
                counts = done.read.reshape(len(x), -1)  # [sample, output]
    if counts is None:
        raise ProgramError(f"the program has no output layer {program.output!r}")
    spikes_by_layer = {la.name: np.swapaxes(seen[la.name], 0, 1) for la in program.layers if record}
    return Trace(counts, spikes_by_layer, states, clamped, lost, past)


def _blocks(program: Program) -> Iterator[Sequence[Layer]]:
    """Runs of layers that must step together: a connection back in the order ties all layers between its ends."""
    order = {layer.name: index for index, layer in enumerate(program.layers)}
    start = 0
    while start < len(program.layers):
        end = start + 1
        while True:
            reach = [order[c.source] + 1 for c in program.connections if c.source != INPUT and order[c.target] < end]
            further = max([end, *reach])
            if further == end:
                break
            end = further
        yield program.layers[start:end]
        start = end


@dataclass(frozen=True)
class _Ran:
    """What one layer did: spikes ``[time, sample, ...]``, final state, readout, saturations, states where asked for."""

    spikes: NDArray[Any]
    state: State
    read: IntArray
    saturated: int
    history: tuple[State, ...]


def _run_block(program: Program, block: Sequence[Layer], seen: dict[str, NDArray[Any]], history: bool) -> list[_Ran]:
    """All steps of some layers, in their order."""
    steps, samples = seen[INPUT].shape[:2]
    names = {layer.name for layer in block}
    outer = {layer.name: _outer_sums(program, layer, names, seen) for layer in block}
    inner = {la.name: [c for c in program.into(la.name) if c.source in names] for la in block}
    states = {layer.name: start_state(layer, samples) for layer in block}
    spikes = {
        la.name: np.zeros((steps, samples, *la.shape), dtype=np.uint8 if la.max_spikes < 256 else np.uint16)
        for la in block
    }
    read: dict[str, IntArray] = {}
    lost = dict.fromkeys(names, 0)
    past: dict[str, list[State]] = {name: [] for name in names}
    for t in range(steps):
        before = {name: state.n for name, state in states.items()}
        for layer in block:
            sums = outer[layer.name][t]
            for connection in inner[layer.name]:
                if connection.delay is None:
                    n = before[connection.source] if connection.delayed else states[connection.source].n
                else:
                    n = _value_at(connection, connection.delay, spikes[connection.source], t)
                sums = sums + (synaptic_sum(connection, n) << layer.fraction_bits)
            state, saturated = step(layer, states[layer.name], sums)
            states[layer.name] = state
            lost[layer.name] += saturated
            if history:
                past[layer.name].append(state)
            spikes[layer.name][t] = state.n
            if layer.name == program.output:
                read[layer.name] = _read(program.readout, read.get(layer.name), state)
    return [
        _Ran(spikes[name], states[name], read.get(name, states[name].n), lost[name], tuple(past[name]))
        for name in (layer.name for layer in block)
    ]


def _outer_sums(program: Program, layer: Layer, block: set[str], seen: dict[str, NDArray[Any]]) -> IntArray:
    """Sums from outside the block for all steps at once ``[time, sample, neuron...]``, fraction bits included."""
    steps, samples = seen[INPUT].shape[:2]
    total = np.zeros((steps, samples, *layer.shape), dtype=np.int64)
    for connection in program.into(layer.name):
        if connection.source in block:
            continue
        values = late(connection, seen[connection.source].astype(np.int64))
        rows = values.reshape(steps * samples, *values.shape[2:])  # [time·sample, ...]
        total += synaptic_sum(connection, rows).reshape(total.shape) << layer.fraction_bits
    return total


def late(connection: Connection, values: IntArray) -> IntArray:
    """What a connection sees at every step: values ``[time, sample, *source_shape]`` of earlier steps, zeros before."""
    if connection.delay is None:
        return np.concatenate([np.zeros_like(values[:1]), values[:-1]]) if connection.delayed else values
    return np.stack([_value_at(connection, connection.delay, values, t) for t in range(len(values))])


def _value_at(connection: Connection, delay: IntArray, values: NDArray[Any], t: int) -> IntArray:
    """What a connection with delays sees at step ``t``: ``[sample, *source_shape]``."""
    seen: IntArray = np.zeros(values.shape[1:], dtype=np.int64)
    for steps in np.unique(delay):
        then = t - int(steps) - int(connection.delayed)
        if then >= 0:
            seen = np.where(delay == steps, values[then], seen)
    return seen


def _read(readout: str, so_far: IntArray | None, state: State) -> IntArray:
    now = state.n if readout == "spike_count" else state.v
    if so_far is None or readout == "membrane_last":
        return now
    return np.maximum(so_far, now) if readout == "membrane_max" else so_far + now


def _joined(states: list[State]) -> State:
    currents = [state.i for state in states if state.i is not None]
    return State(
        np.concatenate([state.v for state in states]),
        np.concatenate(currents) if currents else None,
        np.concatenate([state.n for state in states]),
    )
