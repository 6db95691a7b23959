"""Bounds of every sum and product of a program, proved from its weights and declared ranges (DESIGN 5).

Float32 products are exact where ``Σ|w|·max|x| ≤ 2**24``, whatever the order of summation; float64 up to ``2**53``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from engine.errors import NotRepresentable
from engine.program.geometry import Range, map_range
from engine.program.program import INPUT, Connection, IntArray, IntegerProgram, Layer, SumPool

FLOAT32_EXACT = 1 << 24
FLOAT64_EXACT = 1 << 52  # one bit below 2**53: half_up adds a half before it floors


@dataclass(frozen=True)
class ConnectionBounds:
    """``values``: range of what is multiplied by weights; ``accumulator``: largest Σ|w|·max|x| of an output."""

    name: str
    values: Range
    accumulator: int

    @property
    def float32_exact(self) -> bool:
        """Whether a float32 product is exact in any order of summation."""
        return self.accumulator <= FLOAT32_EXACT


@dataclass(frozen=True)
class LayerBounds:
    """``input``: largest synaptic sum in state units, ``inner``: largest number met inside a step."""

    name: str
    input: int
    inner: int


@dataclass(frozen=True)
class ProgramBounds:
    """Bounds of all connections and layers, in the program's order."""

    connections: tuple[ConnectionBounds, ...]
    layers: tuple[LayerBounds, ...]


def program_bounds(program: IntegerProgram) -> ProgramBounds:
    """Prove that no sum of a program leaves float64's (and so int64's) exact range.

    Raises:
        NotRepresentable: one may; the message names connection or layer.

    Example:
        >>> from engine.program.program import InputFormat
        >>> li = Layer("out", "li", (1,), 8, 2, np.float32(1))
        >>> fc = Connection("fc", INPUT, "out", "linear", (2,), (1,), bits=3, weight=[[3, -2]])
        >>> program = IntegerProgram(InputFormat((2,), 0, 4), (li,), (fc,), "out", "membrane_sum")
        >>> program_bounds(program).connections[0].accumulator  # (3 + 2)·4
        20
    """
    connections = tuple(_connection_bounds(program, c) for c in program.connections)
    by_name = {bound.name: bound for bound in connections}
    layers = tuple(_layer_bounds(program, layer, by_name) for layer in program.layers)
    return ProgramBounds(connections, layers)


def edge_range(program: IntegerProgram, connection: Connection) -> Range:
    """Range of the values that a connection reads: ``[0, max_spikes]``, or the input's; 0 is in it when late."""
    if connection.source == INPUT:
        lo, hi = program.input.lo, program.input.hi
    else:
        lo, hi = 0, program.layer(connection.source).max_spikes
    return (min(lo, 0), max(hi, 0)) if connection.delayed or connection.delay is not None else (lo, hi)


def multiplications(program: IntegerProgram) -> tuple[str, ...]:
    """Every multiplication (and division) that a program needs, in words; ``[0, 1]`` edges and shifts need none.

    Multiplying by ±1 or by values within ``[-1, 1]`` is an addition.
    """
    found = []
    for connection in program.connections:
        lo, hi = map_range(edge_range(program, connection), connection.before)
        if connection.weight is not None and (lo < -1 or hi > 1) and int(np.abs(connection.weight).max()) > 1:
            found.append(f"connection {connection.name}: weight × value in [{lo}, {hi}]")
    for layer in program.layers:
        for state, leak in (("membrane", layer.leak_v), ("current", layer.leak_i)):
            if leak is not None and leak.kind == "mul_shift":
                found.append(f"layer {layer.name}: {state} leak m × state, m up to {_largest(leak.values)}")
        if layer.max_spikes > 1:
            found.append(f"layer {layer.name}: division by reset_sub, several spikes a step")
            if layer.reset == "subtract":
                found.append(f"layer {layer.name}: spikes × reset_sub")
    return tuple(found)


def _connection_bounds(program: IntegerProgram, connection: Connection) -> ConnectionBounds:
    lo, hi = map_range(edge_range(program, connection), connection.before)
    largest = max(abs(lo), abs(hi))
    accumulator = largest * _row_sums(connection).max(initial=0)
    if accumulator >= FLOAT64_EXACT:
        raise _too_large(f"connection {connection.name!r}: sums up to {accumulator}", connection.name)
    return ConnectionBounds(connection.name, (lo, hi), int(accumulator))


def _layer_bounds(program: IntegerProgram, layer: Layer, by_name: dict[str, ConnectionBounds]) -> LayerBounds:
    total = _largest(layer.bias_i)
    for connection in program.into(layer.name):
        pooled = prod(prod(part.kernel) for part in connection.after if isinstance(part, SumPool))
        shift = int(connection.exponents.max()) + layer.fraction_bits
        total += (by_name[connection.name].accumulator * pooled) << shift
    sub = _largest(layer.reset_sub)
    spikes = min(layer.max_spikes * sub, sub - 2 * layer.limits[0])  # n·reset_sub <= reset_sub + v - fire_at
    reset = spikes + _largest(layer.reset_to)
    state = -layer.limits[0] + reset
    inner = state
    for leak in (layer.leak_v, layer.leak_i):
        if leak is not None:
            inner = max(inner, (_largest(leak.values) if leak.kind == "mul_shift" else 2) * state)
    inner += reset + max(total, -layer.limits[0]) + _largest(layer.bias)
    if inner >= FLOAT64_EXACT:
        raise _too_large(f"layer {layer.name!r}: numbers up to {inner}", layer.name)
    return LayerBounds(layer.name, total, inner)


def _row_sums(connection: Connection) -> IntArray:
    """Σ|w| of every output."""
    if connection.weight is None:
        return np.ones(1, dtype=np.int64)
    weight = np.abs(connection.weight)
    sums: IntArray = weight.reshape(len(weight), -1).sum(axis=1)  # [out]
    return sums


def _largest(values: IntArray | None) -> int:
    return 0 if values is None else int(np.abs(values).max(initial=0))


def _too_large(what: str, name: str) -> NotRepresentable:
    return NotRepresentable(
        "bound_exceeded", f"{what} are not exact in 53 bits; use fewer state or fraction bits", name
    )
