"""The synaptic sum of one connection as C99: gather values of past steps, pool, weigh, shift (docs/program.md)."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from engine.exports.c99_text import Constants, flat, integer_type, literal, size_of
from engine.program.bounds import edge_range
from engine.program.geometry import map_range, map_shape, sum_shape
from engine.program.program import INPUT, Connection, IntegerProgram, Layer, Map, SumPool


@dataclass(frozen=True)
class Source:
    """Where values come from: the expression of this step's array, and the ring of past steps (0: none)."""

    now: str
    ring: str
    steps: int
    type_name: str


@dataclass
class Block:
    """Lines of C and the bytes of stack that their arrays take."""

    lines: list[str]
    stack: int = 0

    def declare(self, type_name: str, name: str, count: int) -> str:
        """A local array."""
        self.lines.append(f"{type_name} {name}[{count}];")
        self.stack += count * size_of(type_name)
        return name


def connection_block(
    program: IntegerProgram, index: int, source: Source, layer: Layer, acc_type: str, constants: Constants
) -> Block:
    """Adds connection ``index`` to ``acc``, fraction bits included; ``accumulator`` is its proved bound."""
    connection = program.connections[index]
    block = Block(["int32_t k;"])
    x = _late(program, index, source, block, constants)
    lo, hi = edge_range(program, connection)
    shape = connection.source_shape
    for number, part in enumerate(connection.before):
        if isinstance(part, SumPool):
            lo, hi = map_range((lo, hi), (part,))
            x = _pool(part, shape, x, f"b{number}", integer_type(lo, hi), block)
        shape = map_shape(shape, (part,), connection.name)
    summed = sum_shape(connection, None if connection.weight is None else connection.weight.shape)
    rows = np.ones(1) if connection.weight is None else np.abs(connection.weight.reshape(len(connection.weight), -1))
    bound = int(rows.sum(axis=-1).max()) * max(abs(lo), abs(hi))
    sums = integer_type(-bound, bound)
    sums = "int16_t" if sums == "int8_t" else sums
    plain = hi <= 1 and lo >= 0  # [0, 1] edges need no multiplication
    weights, y = "", x
    if connection.weight is not None:
        y = block.declare(sums, "y", prod(summed))
        weights = f"w{index}"
        write = _linear if connection.kind == "linear" else _convolution
        write(connection, weights, shape, summed, x, plain, block, constants)
    _add(connection, index, layer, summed, y, acc_type, block, constants)
    return block


def _late(program: IntegerProgram, index: int, source: Source, block: Block, constants: Constants) -> str:
    """The values that the connection sees: this step's, or those of the ring."""
    connection = program.connections[index]
    names = [layer.name for layer in program.layers]
    if connection.delay is None and not connection.delayed:
        return source.now
    held = connection.source != INPUT and names.index(connection.target) <= names.index(connection.source)
    if connection.delay is None and held:
        return source.now  # the source has not run in this step: its array still holds the step before
    count = prod(connection.source_shape)
    x = block.declare(source.type_name, "x", count)
    if connection.delay is None:
        steps = "1"
    else:
        steps = constants.value(f"d{index}", connection.delay + int(connection.delayed), "k")
    ring = f"s->{source.ring}[(s->{source.ring}_at + {source.steps} - d) % {source.steps} * {count} + k]"
    block.lines += [f"for (k = 0; k < {count}; ++k) {{", f"    const int32_t d = {steps};"]
    block.lines += [f"    x[k] = d == 0 ? {source.now}[k] : {ring};", "}"]
    return x


def _pool(part: SumPool, shape: tuple[int, ...], x: str, name: str, type_name: str, block: Block) -> str:
    """A sum pool into a local array."""
    rows, columns = shape[-2:]
    out = map_shape(shape, (part,), name)
    block.declare(type_name, name, prod(out))
    (kr, kc), (sr, sc), (pr, pc) = part.kernel, part.stride, part.padding
    block.lines += [
        f"for (k = 0; k < {prod(out)}; ++k) {{",
        f"    const int32_t p = k / {out[-2] * out[-1]}, r = k / {out[-1]} % {out[-2]}, c = k % {out[-1]};",
        f"    {type_name} total = 0;",
        "    int32_t a, b;",
        f"    for (a = 0; a < {kr}; ++a) for (b = 0; b < {kc}; ++b) {{",
        f"        const int32_t i = r * {sr} + a - {pr}, j = c * {sc} + b - {pc};",
        f"        if (i >= 0 && i < {rows} && j >= 0 && j < {columns})",
        f"            total = ({type_name})(total + {x}[(p * {rows} + i) * {columns} + j]);",
        "    }",
        f"    {name}[k] = total;",
        "}",
    ]
    return name


def _linear(
    connection: Connection,
    weights: str,
    shape: tuple[int, ...],
    summed: tuple[int, ...],
    x: str,
    plain: bool,
    block: Block,
    constants: Constants,
) -> None:
    """Rows of the transposed weights are added for values that are not 0."""
    if connection.weight is None:
        return
    constants.array(weights, flat(connection.weight.T))
    count, out = prod(shape), prod(summed)
    value = f"{weights}[k * {out} + j]" if plain else f"{weights}[k * {out} + j] * value"
    sums = "y[j] = (int16_t)(y[j] + " if "int16_t y[" in block.lines[-1] else "y[j] += ("
    kind = "int32_t" if "int64_t y[" not in block.lines[-1] else "int64_t"
    block.lines += [
        "{",
        "    int32_t j;",
        f"    for (j = 0; j < {out}; ++j) y[j] = 0;",
        f"    for (k = 0; k < {count}; ++k) {{",
        *([] if plain else [f"        const {kind} value = {x}[k];"]),
        f"        if ({x}[k] != 0)",
        f"            for (j = 0; j < {out}; ++j) {sums}{value});",
        "    }",
        "}",
    ]


def _convolution(
    connection: Connection,
    weights: str,
    shape: tuple[int, ...],
    summed: tuple[int, ...],
    x: str,
    plain: bool,
    block: Block,
    constants: Constants,
) -> None:
    """Cross-correlation, output by output; one axis is an image of one row."""
    if connection.weight is None:
        return
    constants.array(weights, flat(connection.weight))
    line = connection.kind == "conv1d"
    (sr, sc), (pr, pc), (dr, dc) = (
        (first, values[0]) if line else (values[0], values[1])
        for first, values in ((1, connection.stride), (0, connection.padding), (1, connection.dilation))
    )
    inner = connection.weight.shape[1]
    kr, kc = (1, *connection.weight.shape[2:])[-2:]
    rows, columns = (1, *shape[1:])[-2:]
    high, wide = (1, *summed[1:])[-2:]
    kind = "int64_t" if "int64_t y[" in block.lines[-1] else "int32_t"
    term = f"{weights}[((o * {inner} + m) * {kr} + a) * {kc} + b]"
    value = f"{x}[(((o / {summed[0] // connection.groups}) * {inner} + m) * {rows} + i) * {columns} + j]"
    narrow = "(int16_t)" if "int16_t y[" in block.lines[-1] else ""
    block.lines += [
        f"for (k = 0; k < {prod(summed)}; ++k) {{",
        f"    const int32_t o = k / {high * wide}, r = k / {wide} % {high}, c = k % {wide};",
        f"    {kind} total = 0;",
        "    int32_t m, a, b;",
        f"    for (m = 0; m < {inner}; ++m) for (a = 0; a < {kr}; ++a) for (b = 0; b < {kc}; ++b) {{",
        f"        const int32_t i = r * {sr} + a * {dr} - {pr}, j = c * {sc} + b * {dc} - {pc};",
        f"        if (i >= 0 && i < {rows} && j >= 0 && j < {columns} && {value} != 0)",
        f"            total += {term if plain else f'({kind}){term} * {value}'};",
        "    }",
        f"    y[k] = {narrow}total;",
        "}",
    ]


def _add(
    connection: Connection,
    index: int,
    layer: Layer,
    summed: tuple[int, ...],
    y: str,
    acc_type: str,
    block: Block,
    constants: Constants,
) -> None:
    """``acc += after(y << exponent) << fraction bits``; a power of two as a factor, so nothing negative is shifted."""
    exponent = np.broadcast_to(
        connection.exponents.reshape(-1, *[1] * (len(summed) - 1))
        if connection.exponents.ndim
        else connection.exponents,
        summed,
    )
    factor = np.int64(1) << (exponent + layer.fraction_bits)
    shape = summed
    pools: list[Map] = [part for part in connection.after if isinstance(part, SumPool)]
    text = constants.value(f"e{index}", factor, "k")
    if pools:
        z = block.declare(acc_type, "z", prod(summed))
        block.lines.append(f"for (k = 0; k < {prod(summed)}; ++k) z[k] = ({acc_type}){y}[k] * {text};")
        for number, part in enumerate(connection.after):
            if isinstance(part, SumPool):
                z = _pool(part, shape, z, f"z{number}", acc_type, block)
            shape = map_shape(shape, (part,), connection.name)
        block.lines.append(f"for (k = 0; k < {layer.size}; ++k) acc[k] += {z}[k];")
        return
    product = f"({acc_type}){y}[k]" if text == literal(1) else f"({acc_type}){y}[k] * {text}"
    block.lines.append(f"for (k = 0; k < {layer.size}; ++k) acc[k] += {product};")
