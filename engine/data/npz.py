"""Untrusted npz files in, deterministic npz files out; values are streamed, never unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from engine.data.npy_header import MAX_HEADER, NpyHeader, header_bytes, parse_header, to_values
from engine.data.zip_safe import BLOCK, STORED, Member, ZipLimits, inflate, list_members
from engine.errors import InvalidDataset

BLOCK_VALUES = BLOCK // 8  # whole values of any numeric type fit a block
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that zip can say: digests hold no time


@dataclass(frozen=True)
class ArrayEntry:
    """One array of an open npz file: its header is checked, its values are still packed."""

    name: str
    header: NpyHeader
    file: BinaryIO
    member: Member

    @property
    def shape(self) -> tuple[int, ...]:
        """The declared shape."""
        return self.header.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The declared type in the machine's byte order."""
        return self.header.dtype.newbyteorder("=")

    def read(self) -> NDArray[Any]:
        """All values, in C order."""
        values = np.empty(self.header.count, self.dtype)
        filled = 0
        for block in self._in_file_order():
            values[filled : filled + block.size] = block
            filled += block.size
        if self.header.fortran:
            return np.ascontiguousarray(values.reshape(self.shape[::-1]).T)
        return values.reshape(self.shape)

    @property
    def start(self) -> int | None:
        """Where in the file the values lie as they are, in C order; None: packed, or in another order."""
        plain = self.member.method == STORED and self.header.dtype.isnative and not self.header.fortran
        return self.member.start + self.header.offset if plain else None

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Flat blocks of values in C order; a Fortran-ordered array is read whole first."""
        if self.header.fortran and len(self.shape) > 1:
            values = self.read().reshape(-1)
            for start in range(0, values.size, BLOCK_VALUES):
                yield values[start : start + BLOCK_VALUES]
            return
        yield from self._in_file_order()

    def _in_file_order(self) -> Iterator[NDArray[Any]]:
        rest, skip, itemsize = b"", self.header.offset, self.header.dtype.itemsize
        for data in inflate(self.file, self.member):
            cut = min(skip, len(data))
            skip -= cut
            rest += data[cut:]
            whole = len(rest) // itemsize * itemsize
            if whole:
                yield to_values(self.header, rest[:whole])
                rest = rest[whole:]


def open_arrays(file: BinaryIO, limits: ZipLimits | None = None) -> dict[str, ArrayEntry]:
    """Arrays of an npz file by name, headers read and checked, no value inflated beyond the first block.

    Args:
        file: an open seekable file; entries read from it later.
        limits: bounds on members and declared bytes; the defaults allow 4 GiB.

    Raises:
        InvalidDataset: ``not_npz``, ``object_array``, ``declared_too_large``.
    """
    limits = limits or ZipLimits()
    entries: dict[str, ArrayEntry] = {}
    declared = 0
    for member in list_members(file, limits).values():
        name = member.name.removesuffix(".npy")
        head = _head(file, member)
        header = parse_header(name, head)
        declared += header.total
        if declared > limits.max_bytes:
            detail = f"array {name!r} of shape {header.shape}: the arrays declare {declared} bytes, "
            raise InvalidDataset("declared_too_large", f"{detail}expected at most {limits.max_bytes}", name)
        if header.total != member.size:
            detail = f"array {name!r}: its shape {header.shape} needs {header.total} bytes, found {member.size}"
            raise InvalidDataset("not_npz", detail, name)
        entries[name] = ArrayEntry(name, header, file, member)
    return entries


def _head(file: BinaryIO, member: Member) -> bytes:
    head = b""
    for data in inflate(file, member):
        head += data
        if len(head) >= MAX_HEADER + 12:
            break
    return head


@dataclass(frozen=True)
class Column:
    """An array to be written: its type, shape, and flat blocks of values in C order."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    blocks: Iterable[NDArray[Any]]


def write_npz(path: Path, columns: Mapping[str, Column], *, stored: bool = False) -> None:
    """Write arrays so that equal values give equal bytes: sorted names, fixed times, deflate level 1, 1 MiB writes.

    Args:
        path: the file to write.
        columns: array by name; blocks are consumed once, little-endian values are written.
        stored: no compression, so that rows can be read where they lie (:class:`engine.data.rows.StoredRows`).
    """
    method = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w", method, compresslevel=1) as archive:
        for name in sorted(columns):
            column = columns[name]
            dtype = column.dtype.newbyteorder("<")
            info = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            info.compress_type = method
            info.external_attr = 0o600 << 16
            head = header_bytes(dtype, column.shape)
            info.file_size = len(head) + int(np.prod(column.shape, dtype=np.int64)) * dtype.itemsize
            with archive.open(info, "w") as member:
                rest = head
                for block in column.blocks:
                    rest += block.astype(dtype, copy=False).tobytes()
                    while len(rest) >= BLOCK:
                        member.write(rest[:BLOCK])
                        rest = rest[BLOCK:]
                member.write(rest)
