"""The native runner: layer by layer, by events or by dense products, whichever the measured density favours.

A layer's neurons always step in native/event.c. What reaches them are events (the cost follows the spikes) or, where a
connection's source is so busy that a matrix product is quicker, sums of :mod:`engine.program.dense_sums`;
:mod:`engine.program.density` decides. It runs every program whose numbers fit 32 bits and whose only cycles are layers
that feed themselves; for anything else, and where no compiler was, :func:`run_events` hands over to the NumPy runner
and says so.
"""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.kernels.event import EventsStruct, LinkStruct
from engine.program.dense_sums import dense_sums
from engine.program.density import dense_is_quicker
from engine.program.event_tables import DenseChoice, PreparedEvents, address, layer_struct, link_struct, prepare_events
from engine.program.manifest import build_manifest
from engine.program.pack import payload
from engine.program.program import INPUT, Connection, IntArray, IntegerProgram, Layer
from engine.program.taps import Unsupported, internal_order
from runtime.reader import parse_program
from runtime.runner import run
from runtime.step import State

SLACK = 16  # event.c writes whole vectors of indices


@dataclass(frozen=True)
class Events:
    """Values that are not 0: ``index[begin[s, t] : end[s, t]]`` at step t of sample s; ``value`` None: all are 1."""

    begin: IntArray
    end: IntArray
    index: NDArray[np.int32]
    value: NDArray[np.int32] | None

    def struct(self) -> EventsStruct:
        """As C reads it; valid as long as this object lives."""
        return EventsStruct(*(address(a) for a in (self.begin, self.end, self.index, self.value)))

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
    """``counts`` ``[sample, output]``; every layer's events and final state; ``runner`` says what ran.

    ``saturated``: per layer, how often a membrane or current was limited to its range.
    """

    counts: IntArray
    spikes: dict[str, IntArray]
    states: dict[str, State]
    clamped: int
    runner: str
    saturated: dict[str, int]


@dataclass(frozen=True)
class Kernel:
    """What the kernel gives: readout ``[sample, output]``; per layer events, final state and saturations.

    States are in internal order.
    """

    counts: IntArray
    layers: dict[str, Events]
    states: dict[str, State]
    saturated: dict[str, int]


def extract_events(prepared: PreparedEvents, x: NDArray[Any]) -> tuple[Events, int]:
    """Frames ``[sample, time, *input_shape]`` as events in the input's internal order, and how many were clamped."""
    program = prepared.program
    shape = program.input.shape
    if x.dtype == np.uint64:  # what int64 does not hold is above every range
        x = np.minimum(x, np.uint64(np.iinfo(np.int64).max))
    kind = x.dtype.name if x.dtype.name in prepared.library.extract else "int64"
    rows = x.shape[0] * x.shape[1]
    flat = np.ascontiguousarray(x, dtype=kind).reshape(rows, -1)
    begin, end = np.empty((2, *x.shape[:2]), dtype=np.int64)
    index = np.empty(flat.size + SLACK, dtype=np.int32)
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


def run_prepared(prepared: PreparedEvents, events: Events) -> Kernel:
    """All layers, one after another."""
    program = prepared.program
    seen, states, saturated = {INPUT: events}, {}, {}
    counts: IntArray | None = None
    for layer in program.layers:
        spikes, state, read, saturated[layer.name] = _run_layer(prepared, layer, seen)
        seen[layer.name], states[layer.name] = spikes, state
        if layer.name == program.output:
            counts = read[:, internal_order(layer.shape)]
    if counts is None:
        raise ValueError(f"no output layer {program.output!r}")
    return Kernel(counts, {name: held for name, held in seen.items() if name != INPUT}, states, saturated)


def run_events(
    program: IntegerProgram, x: NDArray[Any], level: str | None = None, dense: DenseChoice = "measured"
) -> EventRun:
    """Run frames ``[sample, time, *input_shape]``; the NumPy runner takes over where the kernel cannot."""
    try:
        prepared = prepare_events(program, level, dense)
    except Unsupported as reason:
        trace = run(parse_program(build_manifest(program, {}), payload(program)), x)
        spikes = {name: values.astype(np.int64) for name, values in trace.spikes.items()}
        return EventRun(trace.counts, spikes, trace.states, trace.clamped, f"numpy ({reason})", trace.saturated)
    events, clamped = extract_events(prepared, x)
    ran = run_prepared(prepared, events)
    orders = {layer.name: (internal_order(layer.shape), layer.shape) for layer in program.layers}
    natural = {name: _natural(state, *orders[name]) for name, state in ran.states.items()}
    spikes = {name: held.dense(*orders[name]) for name, held in ran.layers.items()}
    level = f"native ({prepared.library.level})"
    return EventRun(ran.counts, spikes, natural, clamped, level, ran.saturated)


def _natural(state: State, order: IntArray, shape: tuple[int, ...]) -> State:
    """A state in C order and of full shape."""

    def shaped(values: IntArray) -> IntArray:
        return values[:, order].reshape(-1, *shape)

    return State(shaped(state.v), None if state.i is None else shaped(state.i), shaped(state.n))


def _run_layer(prepared: PreparedEvents, layer: Layer, seen: dict[str, Events]) -> tuple[Events, State, IntArray, int]:
    """Its events, its final state, what is read of it, and how often it saturated."""
    samples, steps = seen[INPUT].begin.shape
    fires, size = layer.fire_at is not None, layer.size
    begin, end = np.zeros((2, samples, steps), dtype=np.int64)
    index = np.empty(samples * (steps * size + SLACK) if fires else SLACK, dtype=np.int32)
    value = np.empty_like(index) if layer.max_spikes > 1 else None
    final = {name: np.zeros((samples, size), dtype=np.int32) for name in ("v", "i", "n")}
    read, lost = np.zeros((samples, size), dtype=np.int64), np.zeros(samples, dtype=np.int64)
    own = Events(begin, end, index, value)
    into = prepared.program.into(layer.name)
    links = (LinkStruct * max(1, len(into)))()
    held: list[Tensor] = []  # dense sums, for as long as C reads them
    for k, connection in enumerate(into):
        source, dense = seen.get(connection.source, own), None
        if connection.source in seen and (sums := dense_of(prepared, connection, source)) is not None:
            held.append(sums)
            dense = sums.data_ptr()
        links[k] = link_struct(prepared, connection, source.struct(), dense)
    made = layer_struct(prepared, layer, steps)
    made.links, made.link_count = ctypes.addressof(links), len(into)
    made.begin, made.end, made.index, made.value = (address(a) for a in (begin, end, index, value))
    made.final_v, made.final_i, made.final_n = (final[name].ctypes.data for name in ("v", "i", "n"))
    made.read, made.lost = read.ctypes.data, lost.ctypes.data
    parts = max(1, min(torch.get_num_threads(), samples))
    edges = [samples * k // parts for k in range(parts + 1)]
    call, where = prepared.library.layer, ctypes.addressof(made)
    if parts == 1:
        failed = [call(where, 0, samples)]
    else:
        with ThreadPoolExecutor(parts) as pool:
            failed = list(pool.map(lambda a, b: call(where, a, b), edges[:-1], edges[1:]))
    if any(failed):
        raise MemoryError("no memory for the buffers of the event kernel")
    current = None if layer.leak_i is None else final["i"].astype(np.int64)
    return own, State(final["v"].astype(np.int64), current, final["n"].astype(np.int64)), read, int(lost.sum())


def dense_of(prepared: PreparedEvents, connection: Connection, source: Events) -> Tensor | None:
    """Sums of a connection at every step where a product is quicker than events, else None."""
    weights = prepared.dense.get(connection.name)
    samples, steps = source.begin.shape
    if weights is None:
        return None
    taps, size = prepared.taps[connection.name], prod(connection.source_shape)
    additions = source.count * taps.width * (len(taps.target) / size)
    if not dense_is_quicker(additions, weights.products * samples * steps, prepared, connection):
        return None
    x = torch.zeros(samples * steps, size, dtype=torch.int8)
    prepared.library.scatter(ctypes.byref(source.struct()), samples * steps, size, x.data_ptr())
    return dense_sums(weights, x)
