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
        encoding: ``unsigned``, ``signed`` (two's complement) or ``plus_minus_one`` (bit 0 is -1, bit 1 is +1).

    Raises:
        ProgramError: wrong number of bytes, padding bits that are not 0, or an unknown encoding.

    Example:
        >>> unpack_bits(bytes.fromhex("b900"), 3, 3, "signed").tolist()
        [1, -1, 2]
    """
    if len(data) != -(-count * width // 8):
        raise ProgramError(f"{count} values of {width} bits take {-(-count * width // 8)} bytes, found {len(data)}")
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
