"""The native runner for programs read from a folder: what the entry point ``native`` of ``spikebit.runners`` names."""

from __future__ import annotations

import numpy as np

from engine.program.event_tables import prepare_events
from engine.program.events import extract_events, run_prepared
from engine.program.program import Connection, Flatten, InputFormat, IntegerProgram, Layer, Leak, Map, SumPool
from engine.program.taps import Unsupported, internal_order
from runtime import program as read
from runtime.runners import Ran, Runner, Unavailable


def native(program: read.Program) -> Runner:
    """The compiled kernel on this program.

    Raises:
        Unavailable: there is none, or it does not know a part of the program; the message names it.
    """
    whole = from_read(program)
    try:
        prepared = prepare_events(whole)
    except Unsupported as reason:
        raise Unavailable(str(reason)) from reason

    def call(x: read.IntArray) -> Ran:
        events, clamped = extract_events(prepared, x)
        ran = run_prepared(prepared, events)
        spikes = {la.name: ran.layers[la.name].dense(internal_order(la.shape), la.shape) for la in whole.layers}
        return Ran(ran.counts, spikes, clamped, ran.saturated)

    return call


def from_read(program: read.Program) -> IntegerProgram:
    """A program that the runtime read, in the engine's types."""
    return IntegerProgram(
        input=InputFormat(program.input.shape, program.input.lo, program.input.hi, program.input.scale),
        layers=tuple(_layer(layer) for layer in program.layers),
        connections=tuple(_connection(connection) for connection in program.connections),
        output=program.output,
        readout=program.readout,  # type: ignore[arg-type]  # checked when it was read
    )


def _layer(layer: read.Layer) -> Layer:
    same = {
        name: getattr(layer, name)
        for name in (
            "name", "kind", "shape", "state_bits", "fraction_bits", "bias", "bias_i", "fire_at", "reset", "reset_sub",
            "reset_to", "reset_timing", "reset_order", "drop_reset_input", "current", "floor", "start", "max_spikes",
        )
    }  # fmt: skip
    current = None if layer.leak_i is None else _leak(layer.leak_i)
    return Layer(scale=np.asarray(layer.scale), leak_v=_leak(layer.leak_v), leak_i=current, **same)


def _leak(leak: read.Leak) -> Leak:
    return Leak(leak.kind, leak.values, leak.shift_bits, leak.rounding)  # type: ignore[arg-type]


def _connection(connection: read.Connection) -> Connection:
    same = {
        name: getattr(connection, name)
        for name in (
            "name", "source", "target", "kind", "source_shape", "target_shape", "bits", "weight", "exponent", "delayed",
            "stride", "padding", "dilation", "groups", "delay",
        )
    }  # fmt: skip
    before, after = (tuple(map(_map, maps)) for maps in (connection.before, connection.after))
    return Connection(before=before, after=after, **same)


def _map(part: read.Map) -> Map:
    if isinstance(part, read.SumPool):
        return SumPool(part.kernel, part.stride, part.padding)
    return Flatten(part.start, part.end)
