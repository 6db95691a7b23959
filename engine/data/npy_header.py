"""Reads the header of an ``.npy`` array without trusting it (NumPy enhancement proposal 1)."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidDataset

MAGIC = b"\x93NUMPY"
MAX_HEADER = 4096  # a header of eight axes needs some 200 bytes
MAX_RANK = 8
_NUMBER = re.compile(r"[<>|=](?:b1|[iu][1248]|f[248])")
_TEXT = re.compile(r"[<>|=][US]([0-9]{1,5})")


@dataclass(frozen=True)
class NpyHeader:
    """Type, shape and order of an array; ``offset`` bytes come before its values."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    offset: int

    @property
    def count(self) -> int:
        """Number of values, exact."""
        total = 1
        for size in self.shape:
            total *= size
        return total

    @property
    def total(self) -> int:
        """Bytes of header and values together."""
        return self.offset + self.count * self.dtype.itemsize


def parse_header(name: str, head: bytes) -> NpyHeader:
    """The header at the start of an array's bytes.

    Args:
        name: the array's name, for messages.
        head: the first bytes, at least the header (4108 are always enough).

    Raises:
        InvalidDataset: ``object_array`` where values would have to be unpickled, ``not_npz`` for anything else that is
            not a plain numeric or text array.

    Example:
        >>> import io, numpy as np
        >>> buffer = io.BytesIO()
        >>> np.save(buffer, np.zeros((2, 3), np.uint8))
        >>> parse_header("x", buffer.getvalue()).shape
        (2, 3)
    """
    if head[:6] != MAGIC or len(head) < 12 or head[6] not in (1, 2, 3):
        raise _bad(name, "expected the NumPy array format")
    width = 2 if head[6] == 1 else 4
    start = 8 + width
    size = int.from_bytes(head[8:start], "little")
    if size > MAX_HEADER or len(head) < start + size:
        raise _bad(name, f"expected a header of at most {MAX_HEADER} bytes, found {size}")
    try:
        values = ast.literal_eval(head[start : start + size].decode("latin-1").strip())
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise _bad(name, "its header is damaged") from error
    if not isinstance(values, dict) or set(values) != {"descr", "fortran_order", "shape"}:
        raise _bad(name, "expected a header with descr, fortran_order and shape")
    shape = values["shape"]
    plain = isinstance(shape, tuple) and len(shape) <= MAX_RANK
    if not plain or not all(type(axis) is int and 0 <= axis < 2**62 for axis in shape):
        raise _bad(name, f"expected at most {MAX_RANK} sizes, found {str(shape)[:64]}")
    if type(values["fortran_order"]) is not bool:
        raise _bad(name, "fortran_order is neither True nor False")
    return NpyHeader(_dtype(name, values["descr"]), shape, values["fortran_order"], start + size)


def header_bytes(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Magic and header of a C-ordered array, padded to 64 bytes as NumPy does, always version 1.0."""
    text = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    padding = -(10 + len(text) + 1) % 64
    body = text.encode("latin-1") + b" " * padding + b"\n"
    return MAGIC + b"\x01\x00" + len(body).to_bytes(2, "little") + body


def to_values(header: NpyHeader, data: bytes) -> NDArray[Any]:
    """Bytes as a flat array in the machine's own byte order."""
    array = np.frombuffer(data, dtype=header.dtype)
    return array.astype(header.dtype.newbyteorder("="), copy=False)


def _dtype(name: str, descr: Any) -> np.dtype[Any]:
    if isinstance(descr, str) and descr.lstrip("<>|=").startswith("O"):
        detail = f"array {name!r} holds Python objects, which only unpickling could read; expected numbers"
        raise InvalidDataset("object_array", detail, name)
    if isinstance(descr, list) and "O" in str(descr):
        raise InvalidDataset("object_array", f"array {name!r} may hold Python objects; expected numbers", name)
    if not isinstance(descr, str) or not (_NUMBER.fullmatch(descr) or _TEXT.fullmatch(descr)):
        raise _bad(name, f"expected real numbers or text, found the type {str(descr)[:64]}")
    dtype = np.dtype(descr)
    if not 0 < dtype.itemsize <= MAX_HEADER:
        raise _bad(name, f"expected values of at most {MAX_HEADER} bytes, found {dtype.itemsize}")
    return dtype


def _bad(name: str, detail: str) -> InvalidDataset:
    return InvalidDataset("not_npz", f"array {name!r}: {detail}", name)
