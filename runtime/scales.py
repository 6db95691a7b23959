"""Scales of layers and of the input in a manifest: float32 numbers, exactly (docs/program.md, Scales)."""

from __future__ import annotations

import base64
import binascii
import re

import numpy as np
from numpy.typing import NDArray

from runtime.arrays import spread
from runtime.bits import packed_bytes, unpack_bits
from runtime.errors import ProgramError

INFINITE = 0x7F800000  # the bits of float32's infinity: all below are finite and not negative
PACKED = re.compile(r"(0|[1-9][0-9]{0,9})\+([1-9]|[12][0-9]|3[01])\*([1-9][0-9]{0,8}):(.+)", re.ASCII)


def read_scale(value: object, shape: tuple[int, ...], where: str) -> NDArray[np.float32]:
    """Scales of a version 3 manifest at full shape: a number for all, or packed text.

    Text is ``LEAST+WIDTH*COUNT:DATA``: the bit pattern of the least scale as a decimal number; then, in base85 (RFC
    1924), by how much each of ``COUNT`` patterns is above it, packed at ``WIDTH`` bits.

    Raises:
        ProgramError: neither, or scales that are not finite or negative.

    Example:
        >>> read_scale(0.1, (2,), "here").tolist() == [np.float32(0.1)] * 2
        True
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not 0 <= value <= float(np.finfo(np.float32).max):  # exact for integers of any length; false for NaN
            raise ProgramError(f"{where}: expected a finite number that is not negative, found {str(value)[:80]}")
        return np.broadcast_to(np.float32(value), shape)
    found = PACKED.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ProgramError(f"{where}: expected a number or LEAST+WIDTH*COUNT:DATA, found {str(value)[:80]!r}")
    least, width, count = int(found[1]), int(found[2]), int(found[3])
    try:
        data = base64.b85decode(found[4])
    except ValueError as error:
        raise ProgramError(f"{where} is not base85") from error
    if len(data) != packed_bytes(count, width, "unsigned"):
        raise ProgramError(f"{where}: {len(data)} bytes are not {count} scales of {width} bits")
    bits = least + unpack_bits(data, width, count, "unsigned")
    if bits.max() >= INFINITE:
        raise ProgramError(f"{where}: a scale is not finite")
    return spread(bits, shape, where).astype(np.int32).view(np.float32)


def base64_scales(value: object, shape: tuple[int, ...], where: str) -> NDArray[np.float32]:
    """Scales of versions 1 and 2: little-endian float32 in base64: one, one per channel, or one per neuron."""
    if not isinstance(value, str):
        raise ProgramError(f"{where}: expected a string, found {str(value)[:80]!r}")
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProgramError(f"{where} is not base64") from error
    if len(data) % 4 or not data:
        raise ProgramError(f"{where}: {len(data)} bytes are not float32 numbers")
    values = np.frombuffer(data, "<f4").astype(np.float32)
    return values[spread(np.arange(values.size), shape, where)]
