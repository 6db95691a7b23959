"""What a program must satisfy before it is run: shapes fit, sources run before targets, sums are exact."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from runtime.errors import ProgramError
from runtime.parts import LARGEST_SIZE
from runtime.program import INPUT, UNDECLARED, Connection, IntArray, Layer, Map, Program, SumPool

EXACT = 1 << 53
INNER = 1 << 52
MAX_DELAY = 65535  # steps


def check_program(program: Program) -> Program:
    """Refuse a program that contradicts docs/program.md; the same program with all its bounds.

    Raises:
        ProgramError: naming the layer or connection, with expected and found.
    """
    names = [layer.name for layer in program.layers]
    if len(set(names)) != len(names) or program.output not in names:
        raise ProgramError(f"layer names must differ and hold the output {program.output!r}; found {names}")
    if program.input.lo > program.input.hi:
        raise ProgramError(f"input range [{program.input.lo}, {program.input.hi}] is empty")
    for layer in program.layers:
        _check_layer(layer)
    program = replace(program, connections=tuple(_check_connection(program, c, names) for c in program.connections))
    return replace(program, layers=tuple(_check_sums(program, layer) for layer in program.layers))


def _check_layer(layer: Layer) -> None:
    many, fires = layer.max_spikes > 1, layer.fire_at is not None
    late = layer.reset_timing == "next_step"
    rules = (
        ((layer.kind in ("cubalif", "cubali")) == (layer.leak_i is not None), "cubalif and cubali alone have leak_i"),
        (layer.leak_i is not None or layer.bias_i is None, "bias_i needs a current"),
        (fires == (layer.kind not in ("li", "cubali")), "li and cubali alone have no fire_at"),
        (fires or (layer.reset == "none" and not many), "a layer that never spikes has no reset"),
        (not (many and layer.reset == "to_value"), "several spikes exclude reset to_value"),
        (late == (layer.reset_order is not None), "reset_order belongs to next_step"),
        (late or not layer.drop_reset_input, "drop_reset_input belongs to next_step"),
        (layer.reset != "none" or not layer.drop_reset_input, "drop_reset_input belongs to a reset"),
        ((layer.reset_sub is not None) == (layer.reset == "subtract" or many), "reset_delta belongs to subtract"),
        (
            (layer.reset_to is not None) == (layer.reset == "to_value" or layer.drop_reset_input),
            "reset_to belongs to to_value and drop_reset_input",
        ),
        (not many or layer.reset_sub is None or layer.reset_sub.min() >= 1, "several spikes need reset_sub >= 1"),
    )
    for holds, rule in rules:
        if not holds:
            raise ProgramError(f"layer {layer.name!r}: {rule}")
    for values in (layer.bias, layer.bias_i, layer.fire_at, layer.reset_to, layer.floor, layer.start):
        if values is not None and (values.min() < layer.limits[0] or values.max() > layer.limits[1]):
            raise ProgramError(f"layer {layer.name!r}: a value leaves the state's range {layer.limits}")


def _check_connection(program: Program, connection: Connection, names: list[str]) -> Connection:
    name, source, target = connection.name, connection.source, connection.target
    if target not in names or source not in (*names, INPUT):
        raise ProgramError(f"connection {name!r}: no layer {source!r} or {target!r}")
    shape, lo, hi = program.input.shape, program.input.lo, program.input.hi
    if source != INPUT:
        layer = program.layer(source)
        shape, lo, hi = layer.shape, 0, layer.max_spikes
        if layer.fire_at is None:
            raise ProgramError(f"connection {name!r}: its source {source!r} never spikes")
        if not connection.delayed and names.index(source) >= names.index(target):
            raise ProgramError(f"connection {name!r}: its source must run before its target, or be delayed")
    if shape != connection.source_shape:
        raise ProgramError(f"connection {name!r}: expected source_shape {shape}, found {connection.source_shape}")
    if connection.delay is not None and not 0 <= connection.delay.min() <= connection.delay.max() <= MAX_DELAY:
        raise ProgramError(f"connection {name!r}: delays must be within 0 to {MAX_DELAY} steps")
    if connection.delayed or connection.delay is not None:
        lo, hi = min(lo, 0), max(hi, 0)
    for part in connection.before:
        shape = _mapped(shape, part, name)
        if isinstance(part, SumPool):
            lo, hi = (min(lo, 0), max(hi, 0)) if any(part.padding) else (lo, hi)
            lo, hi = lo * prod(part.kernel), hi * prod(part.kernel)
    shape = _summed(connection, shape)
    if connection.exponent.ndim and connection.exponent.shape != shape[:1]:
        raise ProgramError(f"connection {name!r}: expected {shape[0]} exponents, found {connection.exponent.size}")
    if connection.exponent.min() < 0 or connection.exponent.max() > 15:
        raise ProgramError(f"connection {name!r}: exponents must be within 0 to 15")
    for part in connection.after:
        shape = _mapped(shape, part, name)
    if shape != connection.target_shape or shape != program.layer(target).shape:
        raise ProgramError(f"connection {name!r}: yields {shape}, its target has {program.layer(target).shape}")
    weight = np.ones((1, 1), np.int64) if connection.weight is None else np.abs(connection.weight)
    largest = int(weight.reshape(len(weight), -1).sum(axis=1).max()) * max(abs(lo), abs(hi))
    declared = connection.accumulator != UNDECLARED
    if largest >= EXACT or (declared and ((lo, hi) != connection.values or largest != connection.accumulator)):
        raise ProgramError(
            f"connection {name!r}: expected bounds {(lo, hi)} and {largest} below 2**53, found {connection.values} and "
            f"{connection.accumulator}"
        )
    return replace(connection, values=(lo, hi), accumulator=largest)


def _check_sums(program: Program, layer: Layer) -> Layer:
    """No number of a step reaches 2**52: docs/program.md, Bounds."""
    total = _largest(layer.bias_i)
    for connection in program.into(layer.name):
        pooled = prod(prod(part.kernel) for part in connection.after if isinstance(part, SumPool))
        total += (connection.accumulator * pooled) << (int(connection.exponent.max()) + layer.fraction_bits)
    sub = _largest(layer.reset_sub)
    reset = min(layer.max_spikes * sub, sub - 2 * layer.limits[0]) + _largest(layer.reset_to)
    state = -layer.limits[0] + reset
    inner = state
    for leak in (layer.leak_v, layer.leak_i):
        if leak is not None:
            inner = max(inner, (_largest(leak.values) if leak.kind == "mul_shift" else 2) * state)
    inner += reset + max(total, -layer.limits[0]) + _largest(layer.bias)
    declared = layer.largest_inner != UNDECLARED
    if inner >= INNER or (declared and (total, inner) != (layer.largest_input, layer.largest_inner)):
        raise ProgramError(
            f"layer {layer.name!r}: expected bounds {total} and {inner} below 2**52, found {layer.largest_input} and "
            f"{layer.largest_inner}"
        )
    return replace(layer, largest_input=total, largest_inner=inner)


def _largest(values: IntArray | None) -> int:
    return 0 if values is None else int(np.abs(values).max())


def _mapped(shape: tuple[int, ...], part: Map, name: str) -> tuple[int, ...]:
    if isinstance(part, SumPool):
        _fits(shape[:-2], shape[-2:], part.padding, name)
        sizes = tuple(
            (size + 2 * padding - kernel) // stride + 1
            for size, kernel, stride, padding in zip(shape[-2:], part.kernel, part.stride, part.padding, strict=False)
        )
        if len(shape) < 2 or min(sizes) < 1:
            raise ProgramError(f"connection {name!r}: a pool of {part.kernel} does not fit {shape}")
        return (*shape[:-2], *sizes)
    if not part.start <= part.end < len(shape):
        raise ProgramError(f"connection {name!r}: flatten {part.start}..{part.end} does not fit {shape}")
    return (*shape[: part.start], prod(shape[part.start : part.end + 1]), *shape[part.end + 1 :])


def _summed(connection: Connection, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the weighted sum of values of ``shape``."""
    if connection.weight is None:
        return shape
    weight, groups = connection.weight.shape, connection.groups
    if connection.kind == "linear":
        if shape != weight[1:]:
            raise ProgramError(f"connection {connection.name!r}: weights {weight} do not fit input {shape}")
        return weight[:1]
    if len(shape) != len(weight) - 1 or shape[0] != weight[1] * groups or weight[0] % groups:
        raise ProgramError(f"connection {connection.name!r}: kernel {weight} does not fit input {shape}")
    _fits(shape[:1], shape[1:], connection.padding, connection.name)
    sizes = tuple(
        (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for size, kernel, stride, padding, dilation in zip(
            shape[1:], weight[2:], connection.stride, connection.padding, connection.dilation, strict=True
        )
    )
    if min(sizes) < 1:
        raise ProgramError(f"connection {connection.name!r}: kernel {weight} is larger than input {shape}")
    _fits((weight[0],), sizes, (0,) * len(sizes), connection.name)
    return (weight[0], *sizes)


def _fits(planes: tuple[int, ...], sizes: tuple[int, ...], padding: tuple[int, ...], name: str) -> None:
    """Values between two maps are held at once, zeros around them, too: a few digits must not ask for terabytes."""
    padded = [size + 2 * zeros for size, zeros in zip(sizes, padding, strict=False)]
    if prod((*planes, *padded)) > LARGEST_SIZE:
        raise ProgramError(f"connection {name!r}: expected at most {LARGEST_SIZE} values, found {[*planes, *padded]}")
