"""Bit packing: the arrays of a program as the bytes of ``payload.bin`` (DESIGN 5; docs/program.md, Payload).

Value k of width w takes bits ``k·w .. k·w + w - 1`` of its array's bit string, least significant bit first; bit b of
the string is bit ``b mod 8`` of byte ``b div 8``. Each array is padded with zeros to a whole byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

from engine.program.program import Connection, IntArray, IntegerProgram, Layer

Encoding = Literal["unsigned", "signed", "plus_minus_one", "ternary"]
CHUNK = 1 << 16  # values at a time: a multiple of 8, so chunks end on whole bytes


@dataclass(frozen=True)
class PackedArray:
    """One array of the payload: whose it is, what it says, its values (flat) and how they are written."""

    of: Literal["layer", "connection"]
    index: int
    role: str
    values: IntArray
    width: int
    encoding: Encoding

    @property
    def size_bytes(self) -> int:
        """Bytes in the payload."""
        return packed_bytes(self.values.size, self.width, self.encoding)


def pack_bits(values: IntArray, width: int) -> bytes:
    """Pack integers as two's complement of ``width`` bits (or unsigned, the same bits).

    Args:
        values: flat int64, each within ``-2**(width-1) .. 2**width - 1``.
        width: 1 to 32.

    Raises:
        ValueError: a value does not fit.

    Example:
        >>> pack_bits(np.array([1, -1, 2]), 3).hex()
        'b900'
    """
    if not 1 <= width <= 32:
        raise ValueError(f"width must be 1 to 32, is {width}")
    if values.size and (values.min() < -(1 << (width - 1)) or values.max() >= 1 << width):
        raise ValueError(f"values {values.min()}..{values.max()} do not fit {width} bits")
    positions = np.arange(width, dtype=np.int64)
    parts = []
    for start in range(0, values.size, CHUNK):
        bits = (values[start : start + CHUNK, None] >> positions) & 1  # [value, bit]
        parts.append(np.packbits(bits.astype(np.uint8).ravel(), bitorder="little").tobytes())
    return b"".join(parts)


def packed_bytes(count: int, width: int, encoding: Encoding = "signed") -> int:
    """Bytes that ``count`` values of ``width`` bits take; ternary ones go five to a byte.

    Example:
        >>> packed_bytes(3, 3), packed_bytes(10, 2, "ternary")
        (2, 2)
    """
    return -(-count // 5) if encoding == "ternary" else -(-count * width // 8)


def program_arrays(program: IntegerProgram) -> tuple[PackedArray, ...]:
    """All arrays of a program in payload order: layers, then connections, each in the program's order.

    An array that is constant over a layer is one entry, one that is constant over each channel (first axis) has an
    entry per channel. Widths are the smallest that hold the values; weights have their declared width.
    """
    arrays: list[PackedArray] = []
    for index, layer in enumerate(program.layers):
        for role, values in _layer_values(layer):
            arrays.append(_narrow("layer", index, role, shrink(values)))
    for index, connection in enumerate(program.connections):
        if connection.weight is not None:
            arrays.append(_weights(index, connection, connection.weight))
        if connection.delay is not None:
            arrays.append(_narrow("connection", index, "delay", shrink(connection.delay)))
        arrays.append(_narrow("connection", index, "exponent", shrink(connection.exponents)))
    return tuple(arrays)


def payload(program: IntegerProgram) -> bytes:
    """The bytes of ``payload.bin``."""
    return b"".join(pack_array(array) for array in program_arrays(program))


def pack_array(array: PackedArray) -> bytes:
    """One array's bytes; ±1 is written as 1 and 0, ternary values as base-3 digits, least significant first."""
    if array.encoding == "ternary":
        digits = np.zeros(5 * array.size_bytes, dtype=np.int64)
        digits[: array.values.size] = array.values + 1
        packed: IntArray = digits.reshape(-1, 5) @ np.array([1, 3, 9, 27, 81])
        return packed.astype(np.uint8).tobytes()
    values = (array.values + 1) // 2 if array.encoding == "plus_minus_one" else array.values
    return pack_bits(values, array.width)


def shrink(values: IntArray) -> IntArray:
    """One entry where all are equal, one per channel where channels are constant, else all; flat.

    Example:
        >>> shrink(np.array([[4, 4], [5, 5]])).tolist()
        [4, 5]
    """
    if values.size and np.all(values == values.flat[0]):
        return values.reshape(-1)[:1]
    if values.ndim > 1:
        rows = values.reshape(values.shape[0], prod(values.shape[1:]))  # [channel, neuron of it]
        if np.all(rows == rows[:, :1]):
            return rows[:, 0]
    return values.reshape(-1)


def _layer_values(layer: Layer) -> Iterator[tuple[str, IntArray]]:
    yield from _present("leak_v", layer.leak_v.values)
    yield from _present("leak_i", None if layer.leak_i is None else layer.leak_i.values)
    yield from _present("bias", layer.bias)
    yield from _present("bias_i", layer.bias_i)
    yield from _present("fire_at", layer.fire_at)
    if layer.fire_at is not None and layer.reset_sub is not None:
        yield "reset_delta", layer.fire_at - layer.reset_sub
    yield from _present("reset_to", layer.reset_to)
    yield from _present("floor", layer.floor)
    yield from _present("start", layer.start)


def _present(role: str, values: IntArray | None) -> Iterator[tuple[str, IntArray]]:
    if values is not None:
        yield role, values


def _weights(index: int, connection: Connection, weight: IntArray) -> PackedArray:
    encoding: Encoding = "plus_minus_one" if connection.bits == 1 else "signed"
    if connection.bits == 2 and weight.min() >= -1:
        encoding = "ternary"
    return PackedArray("connection", index, "weight", weight.reshape(-1), connection.bits, encoding)


def _narrow(of: Literal["layer", "connection"], index: int, role: str, values: IntArray) -> PackedArray:
    """The smallest width: unsigned where nothing is negative."""
    lo, hi = int(values.min()), int(values.max())
    if lo >= 0:
        return PackedArray(of, index, role, values, max(1, hi.bit_length()), "unsigned")
    return PackedArray(of, index, role, values, max((-lo - 1).bit_length(), max(hi, 0).bit_length()) + 1, "signed")
