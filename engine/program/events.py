"""The event-driven runner: layer by layer, a layer's cost follows the spikes that reach it (native/event.c).

It runs every program whose numbers fit 32 bits and whose only cycles are layers that feed themselves; for anything
else, and where no compiler was, :func:`run_events` hands over to the NumPy runner and says so.
"""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.kernels.event import EventLibrary, EventsStruct, LayerStruct, LeakStruct, LinkStruct, event_library
from engine.program.bounds import program_bounds
from engine.program.manifest import build_manifest
from engine.program.pack import payload
from engine.program.program import INPUT, Connection, IntArray, IntegerProgram, Layer, Leak
from engine.program.taps import Taps, Unsupported, connection_taps, internal_order, padded
from runtime.reader import parse_program
from runtime.runner import run
from runtime.step import State

FITS = 1 << 30  # half_up adds up to 2^30 before it shifts
NARROW = (1 << 15) - 1
SLACK = 16  # event.c writes whole vectors of indices
KINDS = {"none": 0, "shift": 1, "mul_shift": 2}
ROUNDINGS = {"floor": 0, "toward_zero": 1, "half_up": 2}
RESETS = {"none": 0, "subtract": 1, "to_value": 2}
READOUTS = {"spike_count": 0, "membrane_sum": 1, "membrane_max": 2, "membrane_last": 3}


@dataclass(frozen=True)
class Events:
    """Values that are not 0: ``index[begin[s, t] : end[s, t]]`` at step t of sample s; ``value`` None: all are 1."""

    begin: IntArray
    end: IntArray
    index: NDArray[np.int32]
    value: NDArray[np.int32] | None

    @property
    def count(self) -> int:
        """How many."""
        return int((self.end - self.begin).sum())

    def dense(self, order: IntArray, shape: tuple[int, ...]) -> IntArray:
        """``[sample, time, *shape]``; ``order`` is the internal index of each neuron."""
        samples, steps = self.begin.shape
        flat = np.zeros((samples * steps, prod(shape)), dtype=np.int64)
        for row, (a, b) in enumerate(zip(self.begin.reshape(-1), self.end.reshape(-1), strict=True)):
            flat[row, self.index[a:b]] = 1 if self.value is None else self.value[a:b]
        return flat[:, order].reshape(samples, steps, *shape)


@dataclass(frozen=True)
class EventRun:
    """``counts`` ``[sample, output]``; every layer's events and final state; ``runner`` says what ran."""

    counts: IntArray
    spikes: dict[str, IntArray]
    states: dict[str, State]
    clamped: int
    runner: str


@dataclass
class PreparedEvents:
    """A program with its tables, ready to run on any number of samples."""

    program: IntegerProgram
    library: EventLibrary
    taps: dict[str, Taps] = field(default_factory=dict)
    shifts: dict[str, NDArray[np.int32]] = field(default_factory=dict)
    narrow: dict[str, bool] = field(default_factory=dict)
    roles: dict[tuple[str, str], NDArray[np.int32]] = field(default_factory=dict)


def prepare_events(program: IntegerProgram, level: str | None = None) -> PreparedEvents:
    """Tables of a program.

    Raises:
        Unsupported: the kernel cannot run it, or is not there.
    """
    library, reason = event_library(level)
    if library is None:
        raise Unsupported(reason)
    bounds = program_bounds(program)
    names = [layer.name for layer in program.layers]
    prepared = PreparedEvents(program, library)
    for layer, bound in zip(program.layers, bounds.layers, strict=True):
        if bound.inner >= FITS or bound.input >= FITS:
            raise Unsupported(f"layer {layer.name!r} needs numbers up to {bound.inner}, more than 32 bits hold")
        for role in ("bias", "bias_i", "fire_at", "reset_sub", "reset_to", "floor", "start"):
            _keep_role(prepared, layer, role, getattr(layer, role))
        for role, leak in (("leak_v", layer.leak_v), ("leak_i", layer.leak_i)):
            _keep_role(prepared, layer, role, None if leak is None else leak.values)
    for connection, limits in zip(program.connections, bounds.connections, strict=True):
        if connection.source in names and names.index(connection.source) > names.index(connection.target):
            raise Unsupported(f"connection {connection.name!r} closes a cycle of several layers")
        if connection.delay is not None and np.unique(connection.delay).size != 1:
            raise Unsupported(f"connection {connection.name!r} has a delay per neuron")
        taps = connection_taps(connection)
        pooled = prod(prod(part.kernel) for part in connection.after if hasattr(part, "kernel"))
        prepared.taps[connection.name] = taps
        prepared.shifts[connection.name] = _shift(program.layer(connection.target), connection)
        small = limits.accumulator * pooled <= NARROW and taps.weights.dtype == np.int8
        prepared.narrow[connection.name] = small and limits.values == (0, 1) and not taps.rows
    return prepared


def extract_events(prepared: PreparedEvents, x: NDArray[Any]) -> tuple[Events, int]:
    """Frames ``[sample, time, *input_shape]`` as events in the input's internal order, and how many were clamped."""
    program = prepared.program
    shape = program.input.shape
    kind = x.dtype.name if x.dtype.name in prepared.library.extract else "int64"
    rows = x.shape[0] * x.shape[1]
    flat = np.ascontiguousarray(x, dtype=kind).reshape(rows, -1)
    begin, end = np.empty((2, *x.shape[:2]), dtype=np.int64)
    index = np.empty(flat.size, dtype=np.int32)
    plain = (program.input.lo, program.input.hi) == (0, 1)
    value = None if plain else np.empty(flat.size, dtype=np.int32)
    clamped = ctypes.c_int64()
    count = prepared.library.extract[kind](
        flat.ctypes.data, rows, flat.shape[1], program.input.lo, program.input.hi, begin.ctypes.data, end.ctypes.data,
        index.ctypes.data, None if value is None else value.ctypes.data, ctypes.addressof(clamped),
    )  # fmt: skip
    index = index[:count]
    if len(shape) > 1:
        index = internal_order(shape).astype(np.int32)[index]
    return Events(begin, end, index, value), clamped.value


def run_prepared(prepared: PreparedEvents, events: Events) -> tuple[IntArray, dict[str, Events], dict[str, State]]:
    """Counts ``[sample, output]``, every layer's events, and final states in internal order."""
    program = prepared.program
    seen, states = {INPUT: events}, {}
    counts: IntArray | None = None
    for layer in program.layers:
        spikes, state, read = _run_layer(prepared, layer, seen)
        seen[layer.name], states[layer.name] = spikes, state
        if layer.name == program.output:
            counts = read[:, internal_order(layer.shape)]
    if counts is None:
        raise ValueError(f"no output layer {program.output!r}")
    return counts, {name: held for name, held in seen.items() if name != INPUT}, states


def run_events(program: IntegerProgram, x: NDArray[Any], level: str | None = None) -> EventRun:
    """Run frames ``[sample, time, *input_shape]``; the NumPy runner takes over where the kernel cannot."""
    try:
        prepared = prepare_events(program, level)
    except Unsupported as reason:
        trace = run(parse_program(build_manifest(program, {}), payload(program)), x)
        spikes = {name: values.astype(np.int64) for name, values in trace.spikes.items()}
        return EventRun(trace.counts, spikes, trace.states, trace.clamped, f"numpy ({reason})")
    events, clamped = extract_events(prepared, x)
    counts, layers, states = run_prepared(prepared, events)
    orders = {layer.name: (internal_order(layer.shape), layer.shape) for layer in program.layers}
    natural = {name: _natural(state, *orders[name]) for name, state in states.items()}
    spikes = {name: held.dense(*orders[name]) for name, held in layers.items()}
    return EventRun(counts, spikes, natural, clamped, f"native ({prepared.library.level})")


def _natural(state: State, order: IntArray, shape: tuple[int, ...]) -> State:
    """A state in C order and of full shape."""

    def shaped(values: IntArray) -> IntArray:
        return values[:, order].reshape(-1, *shape)

    return State(shaped(state.v), None if state.i is None else shaped(state.i), shaped(state.n))


def _run_layer(prepared: PreparedEvents, layer: Layer, seen: dict[str, Events]) -> tuple[Events, State, IntArray]:
    samples, steps = seen[INPUT].begin.shape
    fires, size = layer.fire_at is not None, layer.size
    begin, end = np.zeros((2, samples, steps), dtype=np.int64)
    index = np.empty(samples * (steps * size + SLACK) if fires else SLACK, dtype=np.int32)
    value = np.empty_like(index) if layer.max_spikes > 1 else None
    final = {name: np.zeros((samples, size), dtype=np.int32) for name in ("v", "i", "n")}
    read = np.zeros((samples, size), dtype=np.int64)
    own = Events(begin, end, index, value)
    into = prepared.program.into(layer.name)
    links = (LinkStruct * max(1, len(into)))()
    for k, connection in enumerate(into):
        links[k] = _link(prepared, connection, own if connection.source == layer.name else seen[connection.source])
    made = _layer_struct(prepared, layer, steps)
    made.links, made.link_count = ctypes.addressof(links), len(into)
    made.begin, made.end, made.index, made.value = (_address(a) for a in (begin, end, index, value))
    made.final_v, made.final_i, made.final_n = (final[name].ctypes.data for name in ("v", "i", "n"))
    made.read = read.ctypes.data
    parts = max(1, min(torch.get_num_threads(), samples))
    edges = [samples * k // parts for k in range(parts + 1)]
    call, address = prepared.library.layer, ctypes.addressof(made)
    if parts == 1:
        failed = [call(address, 0, samples)]
    else:
        with ThreadPoolExecutor(parts) as pool:
            failed = list(pool.map(lambda a, b: call(address, a, b), edges[:-1], edges[1:]))
    if any(failed):
        raise MemoryError("no memory for the buffers of the event kernel")
    current = None if layer.leak_i is None else final["i"].astype(np.int64)
    return own, State(final["v"].astype(np.int64), current, final["n"].astype(np.int64)), read


def _link(prepared: PreparedEvents, connection: Connection, source: Events) -> LinkStruct:
    taps = prepared.taps[connection.name]
    late = int(connection.delayed) + (0 if connection.delay is None else int(connection.delay.flat[0]))
    return LinkStruct(
        EventsStruct(*(_address(a) for a in (source.begin, source.end, source.index, source.value))),
        *(a.ctypes.data for a in (taps.begin, taps.weight, taps.target, taps.weights)),
        prepared.shifts[connection.name].ctypes.data,
        taps.width,
        int(taps.weights.dtype != np.int8),
        int(taps.rows),
        int(prepared.narrow[connection.name]),
        int(connection.source == connection.target),
        late,
    )


def _layer_struct(prepared: PreparedEvents, layer: Layer, steps: int) -> LayerStruct:
    roles = {role: prepared.roles.get((layer.name, role)) for role in ("leak_v", "leak_i", "bias", "bias_i", "fire_at")}
    roles |= {role: prepared.roles.get((layer.name, role)) for role in ("reset_sub", "reset_to", "floor", "start")}
    low, high = layer.limits
    made = LayerStruct(steps=steps, neurons=layer.size, padded=padded(layer.size))
    made.leak_v = _leak(layer.leak_v, roles["leak_v"])
    made.leak_i = LeakStruct() if layer.leak_i is None else _leak(layer.leak_i, roles["leak_i"])
    made.has_current, made.current_old = int(layer.leak_i is not None), int(layer.current == "old")
    made.fires, made.reset = int(layer.fire_at is not None), RESETS[layer.reset]
    made.late, made.before_leak = int(layer.reset_timing == "next_step"), int(layer.reset_order == "before_leak")
    made.drops, made.max_spikes = int(layer.drop_reset_input), layer.max_spikes
    made.readout = READOUTS[prepared.program.readout]
    made.reads = int(layer.name == prepared.program.output)
    made.low, made.high = low, high
    made.positive = int(layer.reset_sub is not None and layer.reset_sub.min() >= 0)
    for role, values in roles.items():
        if not role.startswith("leak"):
            setattr(made, role, _address(values))
    return made


def _leak(leak: Leak, values: NDArray[np.int32] | None) -> LeakStruct:
    return LeakStruct(KINDS[leak.kind], ROUNDINGS[leak.rounding], leak.shift_bits, _address(values))


def _keep_role(prepared: PreparedEvents, layer: Layer, role: str, values: IntArray | None) -> None:
    """One value per neuron in internal order; what pads it is never computed with."""
    if values is None:
        return
    full = np.zeros(padded(layer.size), dtype=np.int32)
    full[internal_order(layer.shape)] = values.reshape(-1)
    prepared.roles[layer.name, role] = full


def _shift(layer: Layer, connection: Connection) -> NDArray[np.int32]:
    exponent = connection.exponents
    column = exponent.reshape(-1, *[1] * (len(layer.shape) - 1)) if exponent.ndim else exponent
    full = np.zeros(padded(layer.size), dtype=np.int32)
    full[internal_order(layer.shape)] = (np.broadcast_to(column, layer.shape) + layer.fraction_bits).reshape(-1)
    return full


def _address(array: NDArray[Any] | None) -> int | None:
    return None if array is None else int(array.ctypes.data)
