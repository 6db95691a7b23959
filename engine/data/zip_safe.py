"""Reads the members of an untrusted zip file: one reading of the format, everything ambiguous refused.

Source: PKWARE APPNOTE 6.3.9, sections 4.3 and 4.4. Only what NumPy and common packers write is taken: stored or
deflated members with plain names, one after the other from the first byte, directory last. Python's ``zipfile`` would
accept duplicates, traversal names and data before or after the archive (SERVICE section 5).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from engine.errors import InvalidDataset

BLOCK = 1 << 20
NAME = re.compile(r"[A-Za-z0-9_]{1,64}\.npy")
MAX_PARTS, MAX_PART = 8, 128  # folders and the name in a path, and characters of each
STORED, DEFLATED = 0, 8
_END, _CENTRAL, _LOCAL, _LOCATOR64, _END64 = b"PK\x05\x06", b"PK\x01\x02", b"PK\x03\x04", b"PK\x06\x07", b"PK\x06\x06"
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_PLAIN_FLAGS = 0x080E  # UTF-8 name, sizes in a descriptor, how hard deflate tried
_DESCRIPTOR = 24  # a data descriptor (bit 3) follows the data: at most signature, CRC, two 8-byte sizes


@dataclass(frozen=True)
class ZipLimits:
    """Bounds on what an archive may declare, and what its members may be called (``expected`` says it in words).

    ``paths``: names are relative paths in any script instead; entries for folders, names that begin with a dot and
    what macOS adds below ``__MACOSX`` are left out.
    """

    max_members: int = 64
    max_bytes: int = 4 << 30
    names: re.Pattern[str] = NAME
    expected: str = "a name that numpy.savez writes"
    paths: bool = False


@dataclass(frozen=True)
class Member:
    """One file in the archive: where its data starts, and what the directory declares about it."""

    name: str
    method: int
    crc: int
    packed: int
    size: int
    start: int


def list_members(file: BinaryIO, limits: ZipLimits) -> dict[str, Member]:
    """Members by name, from the central directory, checked against every local header.

    Args:
        file: a seekable binary file.
        limits: bounds on the number of members and on the sum of their inflated sizes.

    Raises:
        InvalidDataset: ``not_npz`` for anything damaged, ambiguous or encrypted; ``declared_too_large``.
    """
    total = file.seek(0, 2)
    count, size, offset = _find_directory(file, total)
    if count > limits.max_members:
        raise _bad(f"expected at most {limits.max_members} files in the archive, found {count}")
    directory = _read(file, offset, size)
    members: dict[str, Member] = {}
    position, expected = 0, 0
    for _ in range(count):
        member, header, flags, position = _central_entry(directory, position, limits)
        if member.name in members:
            raise _bad(f"the name {member.name!r} is there twice")
        gap = header - expected
        if gap < 0 or gap > (_DESCRIPTOR if members else 0):
            raise _bad(f"member {member.name!r} starts at byte {header}, expected {expected}")
        start = _check_local(file, member, header, flags)
        expected = start + member.packed
        members[member.name] = Member(member.name, member.method, member.crc, member.packed, member.size, start)
    if limits.paths:
        members = {name: member for name, member in members.items() if not (name.endswith("/") or is_hidden(name))}
    if position != len(directory) or not 0 <= offset - expected <= _DESCRIPTOR:
        raise _bad("there is data between the members and the directory")
    declared = sum(member.size for member in members.values())
    if declared > limits.max_bytes:
        detail = f"the arrays declare {declared} bytes, expected at most {limits.max_bytes}"
        raise InvalidDataset("declared_too_large", detail, None)
    return members


def inflate(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """The member's bytes in blocks of at most 1 MiB, counted; stopped at one byte more than declared.

    Raises:
        InvalidDataset: ``inflated_too_large``, or ``not_npz`` for damaged or missing data.
    """
    left, crc, got = member.packed, 0, 0
    position = member.start
    unpack = _Unpacker(member)
    while left:
        packed = _read(file, position, min(left, BLOCK))
        position, left = position + len(packed), left - len(packed)
        for data in unpack.feed(packed):
            got, crc = got + len(data), zlib.crc32(data, crc)
            if got > member.size:
                detail = f"array {member.name!r} inflates to more than the {member.size} bytes that it declares"
                raise InvalidDataset("inflated_too_large", detail, member.name)
            yield data
    if not unpack.complete or got != member.size or crc != member.crc:
        raise _bad(f"member {member.name!r}: expected {member.size} bytes with their check sum, found {got}")


class _Unpacker:
    """Stored or deflated bytes to plain ones, never more than a block, or one byte above the declared size, at once."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._stream = zlib.decompressobj(-15) if member.method == DEFLATED else None
        self._most = min(BLOCK, member.size + 1)

    def feed(self, packed: bytes) -> Iterator[bytes]:
        """Plain bytes of the next packed ones."""
        if self._stream is None:
            yield packed
            return
        while True:
            try:
                data = self._stream.decompress(packed, self._most)
            except zlib.error as error:
                raise _bad(f"member {self._member.name!r} is damaged: {error}") from error
            packed = self._stream.unconsumed_tail
            if data:
                yield data
            if not packed and len(data) < self._most:
                return

    @property
    def complete(self) -> bool:
        """Whether the packed bytes ended where the stream did."""
        return self._stream is None or (self._stream.eof and not self._stream.unused_data)


def _find_directory(file: BinaryIO, total: int) -> tuple[int, int, int]:
    """Number of members, size and offset of the central directory, which must end the file."""
    end = _read(file, max(total - 22, 0), min(22, total))
    if len(end) < 22 or end[:4] != _END:
        head = _read(file, 0, min(8, total))
        raise _bad(
            f"expected a zip archive as numpy.savez writes it, without a comment or trailing data, found {total} bytes "
            f"that begin with {head!r} and do not end with a zip's end record"
        )
    disk, first, here, count, size, offset, comment = struct.unpack("<4H2IH", end[4:])
    position = total - 22
    short = (here, count, size, offset)
    # zipfile writes the long record from 2 GiB on, where the short one still says everything
    if _MAX16 in short[:2] or _MAX32 in short[2:] or _read(file, max(position - 20, 0), 4) == _LOCATOR64:
        disk, first, here, count, size, offset, position = _directory64(file, position)
        wide = zip(short, (here, count, size, offset), (_MAX16, _MAX16, _MAX32, _MAX32), strict=True)
        if any(value not in (most, true) for value, true, most in wide):
            raise _bad("the zip64 end record does not fit the end record")
    if disk or first or here != count or comment or offset + size != position:
        raise _bad("the end record does not fit the file")
    return count, size, offset


def _directory64(file: BinaryIO, position: int) -> tuple[int, int, int, int, int, int, int]:
    locator = _read(file, max(position - 20, 0), 20)
    signature, disk, start, disks = struct.unpack("<4sIQI", locator)
    if signature != _LOCATOR64 or disk or disks != 1 or start != position - 20 - 56:
        raise _bad("the zip64 locator does not fit the file")
    record = _read(file, start, 56)
    signature, size_left, _, _, disk, first, here, count, size, offset = struct.unpack("<4sQ2H2I4Q", record)
    if signature != _END64 or size_left != 44:
        raise _bad("the zip64 end record does not fit the file")
    return disk, first, here, count, size, offset, start


def _central_entry(directory: bytes, position: int, limits: ZipLimits) -> tuple[Member, int, int, int]:
    """A member without its start, the offset of its local header, its flags, the next position."""
    if len(directory) < position + 46 or directory[position : position + 4] != _CENTRAL:
        raise _bad("the directory is damaged")
    fields = struct.unpack("<6H3I5H2I", directory[position + 4 : position + 46])
    flags, method, crc = fields[2], fields[3], fields[6]
    sizes = {"size": fields[8], "packed": fields[7], "header": fields[15]}
    name_size, extra_size, comment_size, disk = fields[9], fields[10], fields[11], fields[12]
    body = directory[position + 46 : position + 46 + name_size + extra_size]
    if len(body) < name_size + extra_size or comment_size or disk:
        raise _bad("the directory is damaged")
    name = _checked_name(body[:name_size], bool(fields[8]), limits)
    if flags & ~_PLAIN_FLAGS or method not in (STORED, DEFLATED):
        raise _bad(f"member {name!r}: expected plain stored or deflated data (no encryption)")
    sizes = _sizes64(name, body[name_size:], sizes)
    if method == STORED and sizes["packed"] != sizes["size"]:
        raise _bad(f"member {name!r}: a stored file has two sizes")
    member = Member(name, method, crc, sizes["packed"], sizes["size"], 0)
    return member, sizes["header"], flags, position + 46 + name_size + extra_size


def is_hidden(name: str) -> bool:
    """Whether a path is one that an operating system keeps for itself, not its user.

    Example:
        >>> [is_hidden(name) for name in ("__MACOSX/a/._b.bin", "a/.DS_Store", "a/b.bin")]
        [True, True, False]
    """
    return any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in name.split("/"))


def path_problem(name: str) -> str | None:
    """What is wrong with a relative path, in words that name the character; None: nothing.

    Example:
        >>> path_problem("train/café (1)/a+b.bin"), path_problem("../a.bin")
        (None, "a part '..'")
    """
    wrong = next((c for c in name if c == "\\" or not c.isprintable()), None)
    if wrong is not None:
        return f"the character {wrong!r} (U+{ord(wrong):04X})"
    parts = name.split("/")
    if not name or name.startswith("/"):
        return "a leading '/'" if name else "nothing"
    bad = next((part for part in parts if part in ("", ".", "..")), None)
    if bad is not None:
        return f"a part {bad!r}"
    if len(parts) > MAX_PARTS or max(map(len, parts)) > MAX_PART:
        return f"{len(parts)} parts, the longest of {max(map(len, parts))} characters"
    drive = parts[0][1:2] == ":" and parts[0][0].isalpha()
    return "the character ':' of a drive" if drive else None


def _checked_name(raw: bytes, filled: bool, limits: ZipLimits) -> str:
    name = raw.decode("utf-8", "replace")
    if not limits.paths:
        if not limits.names.fullmatch(name):
            raise _bad(f"the name {name[:64]!r} is not {limits.expected}")
        return name
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _bad(f"the name {name[:64]!r}: expected UTF-8, found the byte 0x{raw[error.start]:02X}") from error
    found = path_problem(name if filled else name.removesuffix("/"))
    if found is not None:
        rule = f"up to {MAX_PARTS} parts of up to {MAX_PART} printable characters, no '..', no backslash"
        raise _bad(f"the name {name[:64]!r}: expected a relative path ({rule}), found {found}")
    return name


def _sizes64(name: str, extra: bytes, sizes: dict[str, int]) -> dict[str, int]:
    """Values that are all ones in the directory are in the zip64 extra field, in this order."""
    wide = [key for key in ("size", "packed", "header") if sizes[key] == _MAX32]
    found: bytes | None = None
    while len(extra) >= 4:
        kind, length = struct.unpack("<2H", extra[:4])
        if kind == 1:
            if found is not None:
                raise _bad(f"member {name!r} has two zip64 fields")
            found = extra[4 : 4 + length]
        extra = extra[4 + length :]
    if not wide:
        return sizes
    if found is None or len(found) < 8 * len(wide):
        raise _bad(f"member {name!r} lacks its zip64 sizes")
    values = struct.unpack(f"<{len(wide)}Q", found[: 8 * len(wide)])
    return sizes | dict(zip(wide, values, strict=True))


def _check_local(file: BinaryIO, member: Member, header: int, flags: int) -> int:
    """Where the data starts, once the local header agrees with the directory."""
    fields = struct.unpack("<4s5H3I2H", _read(file, header, 30))
    signature, local_flags, method = fields[0], fields[2], fields[3]
    crc, packed, size, name_size, extra_size = fields[6:]
    body = _read(file, header + 30, name_size + extra_size)
    same = signature == _LOCAL and local_flags == flags and method == member.method
    same = same and body[:name_size] == member.name.encode()
    if not flags & 0x0008:  # with bit 3 the local header holds zeros
        sizes = _sizes64(member.name, body[name_size:], {"size": size, "packed": packed, "header": 0})
        same = same and (crc, sizes["packed"], sizes["size"]) == (member.crc, member.packed, member.size)
    if not same:
        raise _bad(f"member {member.name!r}: its header and the directory disagree")
    return header + 30 + int(name_size) + int(extra_size)


def _read(file: BinaryIO, position: int, size: int) -> bytes:
    file.seek(position)
    data = file.read(size)
    if len(data) != size:
        raise _bad("the file is shorter than it says")
    return data


def _bad(detail: str) -> InvalidDataset:
    return InvalidDataset("not_npz", detail, None)
