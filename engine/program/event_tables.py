"""Tables of a program for the event kernel: taps, shifts and per-neuron values in the order that event.c walks."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.kernels.event import EventLibrary, EventsStruct, LayerStruct, LeakStruct, LinkStruct, event_library
from engine.program.bounds import program_bounds
from engine.program.dense_sums import DenseWeights, dense_weights
from engine.program.program import Connection, IntArray, IntegerProgram, Layer, Leak
from engine.program.taps import Taps, Unsupported, connection_taps, internal_order, padded

FITS = 1 << 30  # half_up adds up to 2^30 before it shifts
NARROW = (1 << 15) - 1
TILE = 512  # of event.c
MOST_LINKS = 64  # of event.c
KINDS = {"none": 0, "shift": 1, "mul_shift": 2}
ROUNDINGS = {"floor": 0, "toward_zero": 1, "half_up": 2}
RESETS = {"none": 0, "subtract": 1, "to_value": 2}
READOUTS = {"spike_count": 0, "membrane_sum": 1, "membrane_max": 2, "membrane_last": 3}
ROLES = ("bias", "bias_i", "fire_at", "reset_sub", "reset_to", "floor", "leak_v", "leak_i")  # bit k of `repeats`
DenseChoice = Literal["measured", "never", "always"]


@dataclass
class PreparedEvents:
    """A program with its tables, ready to run on any number of samples.

    ``dense``: connections that may run as matrix products; ``always``: they do, whatever the density.
    """

    program: IntegerProgram
    library: EventLibrary
    taps: dict[str, Taps] = field(default_factory=dict)
    shifts: dict[str, NDArray[np.int32]] = field(default_factory=dict)
    narrow: dict[str, bool] = field(default_factory=dict)
    roles: dict[tuple[str, str], NDArray[np.int32]] = field(default_factory=dict)
    dense: dict[str, DenseWeights] = field(default_factory=dict)
    always: bool = False


def prepare_events(
    program: IntegerProgram, level: str | None = None, dense: DenseChoice = "measured"
) -> PreparedEvents:
    """Tables of a program.

    Args:
        program: what to run.
        level: of the kernel; None: what torch uses on this processor.
        dense: where connections run as matrix products: where their measured density favours it, nowhere, everywhere.

    Raises:
        Unsupported: the kernel cannot run it, or is not there.
    """
    library, reason = event_library(level)
    if library is None:
        raise Unsupported(reason)
    bounds = program_bounds(program)
    names = [layer.name for layer in program.layers]
    prepared = PreparedEvents(program, library, always=dense == "always")
    for layer in program.layers:
        if len(program.into(layer.name)) > MOST_LINKS:
            raise Unsupported(f"layer {layer.name!r} has more than {MOST_LINKS} connections")
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
        if dense != "never" and (weights := dense_weights(connection, limits)) is not None:
            prepared.dense[connection.name] = weights
    return prepared


def link_struct(
    prepared: PreparedEvents, connection: Connection, source: EventsStruct, dense: int | None
) -> LinkStruct:
    """A connection as event.c reads it; ``dense``: address of sums that are already there."""
    taps, shift = prepared.taps[connection.name], prepared.shifts[connection.name]
    used = shift[: prepared.program.layer(connection.target).size]
    late = int(connection.delayed) + (0 if connection.delay is None else int(connection.delay.flat[0]))
    return LinkStruct(
        source,
        *(a.ctypes.data for a in (taps.begin, taps.weight, taps.target, taps.weights)),
        shift.ctypes.data,
        dense,
        taps.width,
        int(taps.weights.dtype != np.int8),
        int(taps.rows),
        int(prepared.narrow[connection.name]),
        late,
        int(used[0]) if (used == used[0]).all() else -1,
    )


def layer_struct(prepared: PreparedEvents, layer: Layer, steps: int) -> LayerStruct:
    """A layer as event.c reads it, without links and buffers."""
    roles = {role: prepared.roles.get((layer.name, role)) for role in (*ROLES, "start")}
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
    made.repeats = sum(1 << k for k, role in enumerate(ROLES) if _repeats(roles[role], layer.size))
    for role, values in roles.items():
        if not role.startswith("leak"):
            setattr(made, role, address(values))
    return made


def _repeats(values: NDArray[np.int32] | None, size: int) -> bool:
    """Whether the first TILE values stand for all: the same for all neurons, or per channel of a power of two."""
    return values is not None and np.array_equal(values[:size], np.resize(values[:TILE], size))


def _leak(leak: Leak, values: NDArray[np.int32] | None) -> LeakStruct:
    return LeakStruct(KINDS[leak.kind], ROUNDINGS[leak.rounding], leak.shift_bits, address(values))


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


def address(array: NDArray[Any] | None) -> int | None:
    """Where an array lies, for C; null for none."""
    return None if array is None else int(array.ctypes.data)
