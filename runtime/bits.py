"""Unpacking of bit-packed arrays (docs/program.md, Payload)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ProgramError

CHUNK = 1 << 16  # values at a time: a multiple of 8, so chunks start on whole bytes


def unpack_bits(data: bytes, width: int, count: int, encoding: str) -> NDArray[np.int64]:
    """``count`` integers of ``width`` bits, least significant bit first.

    Args:
        data: exactly ``ceil(count·width / 8)`` bytes.
        width: 1 to 32.
        count: number of values.
        encoding: ``unsigned``, ``signed`` (two's complement), ``plus_minus_one`` (bit 0 is -1, bit 1 is +1) or
            ``ternary`` (-1, 0, 1; five values to a byte).

    Raises:
        ProgramError: wrong number of bytes, padding bits that are not 0, or an unknown encoding.

    Example:
        >>> unpack_bits(bytes.fromhex("b900"), 3, 3, "signed").tolist()
        [1, -1, 2]
    """
    expected = packed_bytes(count, width, encoding)
    if len(data) != expected:
        raise ProgramError(f"{count} values of {width} bits take {expected} bytes as {encoding}, found {len(data)}")
    if encoding == "ternary":
        return _unpack_ternary(data, count)
    values = np.empty(count, dtype=np.int64)
    weights = np.int64(1) << np.arange(width, dtype=np.int64)
    for start in range(0, count, CHUNK):
        part = values[start : start + CHUNK]
        first = start * width // 8
        raw = np.frombuffer(data, np.uint8, -(-part.size * width // 8), first)
        bits = np.unpackbits(raw, bitorder="little")
        if bits[part.size * width :].any():
            raise ProgramError("the padding bits at the end of an array must be 0")
        part[:] = bits[: part.size * width].reshape(-1, width) @ weights  # [value, bit]
    if encoding == "signed":
        return np.where(values >= 1 << (width - 1), values - (1 << width), values)
    if encoding == "plus_minus_one":
        return 2 * values - 1
    if encoding != "unsigned":
        raise ProgramError(f"unknown encoding {encoding!r}; expected unsigned, signed or plus_minus_one")
    return values


def packed_bytes(count: int, width: int, encoding: str) -> int:
    """Bytes that ``count`` values take.

    Example:
        >>> packed_bytes(11, 2, "signed"), packed_bytes(11, 2, "ternary")
        (3, 3)
    """
    return -(-count // 5) if encoding == "ternary" else -(-count * width // 8)


def _unpack_ternary(data: bytes, count: int) -> NDArray[np.int64]:
    """Byte = Σ (value + 1)·3^k over its five values; values that are not there count as digit 0."""
    powers = np.array([1, 3, 9, 27, 81], dtype=np.int64)
    digits = np.frombuffer(data, np.uint8).astype(np.int64)[:, None] // powers  # [byte, digit]
    if digits[:, 4].max(initial=0) > 2:
        raise ProgramError("a byte of five ternary values is at most 242")
    flat = (digits % 3).reshape(-1)
    if flat[count:].any():
        raise ProgramError("the padding digits at the end of a ternary array must be 0")
    return flat[:count] - 1
