"""Event Stream recordings (``.es``, version 2): contrast events, and the contrast events of ATIS cameras.

Source: the Event Stream specification, version 2.0 (github.com/neuromorphic-paris/event_stream); our own decoder, since
the packages that read it are under the GPL or link code that is. A header of 20 bytes (name, version, type, columns,
rows), then a stream of bytes: an event is five bytes, of which the first holds the time since the event before; single
bytes stand for times too long for that field (overflow) or for nothing (reset). Rows are taken as the file counts them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.readers.recording import Recording, not_a_recording, truncated

MAGIC = b"Event Stream"
HEADER_BYTES = 20
EVENT_BYTES = 5
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class _Kind:
    """How the first byte of an event is laid out: flags in the lowest ``flags`` bits, the time above them.

    All ones in the time's bits are no event: ``units[flag bits]`` says how many times the field's largest value passes
    (reset: none). ``polarity`` is the bit that holds it, ``other`` the bit of events that are no contrast events.
    """

    flags: int
    units: tuple[int, ...]
    polarity: int
    other: int | None

    @property
    def most(self) -> int:
        """The largest value of the time's field."""
        return 0xFF >> self.flags


_KINDS: Mapping[int, _Kind] = {1: _Kind(1, (0, 1), 0, None), 2: _Kind(2, (0, 1, 2, 3), 1, 0)}


def decode_es(data: bytes, name: str) -> Recording:
    """Contrast events of one ``.es`` file; exposure measurements of ATIS cameras are left out.

    Args:
        data: the file.
        name: for messages.

    Raises:
        InvalidDataset: ``invalid_recording`` (another version, or a type of stream without contrast events),
            ``truncated_recording``.

    Example:
        >>> found = decode_es(b"Event Stream" + bytes([2, 0, 0, 1, 8, 0, 6, 0, 255, 7, 3, 0, 4, 0]), "a.es")
        >>> [int(part[0]) for part in (found.t_us, found.row, found.column, found.polarity)], found.sensor
        ([130, 4, 3, 1], (6, 8))
    """
    if not data.startswith(MAGIC):
        raise not_a_recording(name, f"a file that begins with {MAGIC!r}", repr(data[: len(MAGIC)]))
    if len(data) < HEADER_BYTES:
        raise truncated(name, f"a header of {HEADER_BYTES} bytes", f"{len(data)} bytes")
    if data[12] != 2:
        raise not_a_recording(name, "version 2 of Event Stream", f"version {data[12]}.{data[13]}.{data[14]}")
    if data[15] not in _KINDS:
        raise not_a_recording(name, "a stream of type 1 (contrast events) or 2 (ATIS events)", f"type {data[15]}")
    kind = _KINDS[data[15]]
    columns, rows = np.frombuffer(data, "<u2", 2, 16).tolist()
    body = np.frombuffer(data, np.uint8, offset=HEADER_BYTES)
    special = body >> kind.flags == kind.most
    idle = np.flatnonzero(_idle(special, EVENT_BYTES))
    first = body[idle]
    event = ~special[idle]
    units = np.array(kind.units, np.int64)[first & 0xFF >> 8 - kind.flags]
    time = np.cumsum(np.where(event, first >> kind.flags, units * kind.most), dtype=np.int64)
    start = idle[event]
    if len(start) and start[-1] + EVENT_BYTES > len(body):
        raise truncated(name, f"whole events of {EVENT_BYTES} bytes", f"{len(body) - start[-1]} bytes of the last one")
    time, first = time[event], first[event]
    if kind.other is not None:
        contrast = first >> kind.other & 1 == 0
        start, time, first = start[contrast], time[contrast], first[contrast]
    return Recording(time, _pair(body, start + 3), _pair(body, start + 1), first >> kind.polarity & 1, (rows, columns))


def _pair(body: Bytes, at: NDArray[Any]) -> NDArray[np.int64]:
    """Two bytes, the lower first."""
    pair: NDArray[np.int64] = body[at].astype(np.int64) | body[at + 1].astype(np.int64) << 8
    return pair


def _idle(single: NDArray[np.bool_], length: int) -> NDArray[np.bool_]:
    """Which bytes begin an event or stand alone, the others being within an event of ``length`` bytes.

    Whether a byte begins something depends on all before it. Blocks of the stream run side by side from every state
    that they could begin in (bytes left of an event); chaining what they end in gives the state that they do begin in.

    Example:
        >>> _idle(np.array([False, True, False, True, True, False, True, False]), 3).astype(int).tolist()
        [1, 0, 0, 1, 1, 1, 0, 0]
    """
    size = len(single)
    rows = max(1, isqrt(size))
    blocks = -(-size // rows)
    skip = np.zeros(rows * blocks, np.uint8)
    skip[:size] = np.where(single, 0, length - 1)
    table = np.ascontiguousarray(skip.reshape(blocks, rows).T)  # [byte within its block, block]
    left = np.repeat(np.arange(length, dtype=np.uint8)[:, None], blocks, 1)  # [state at the start, block]
    for row in table:
        left = np.where(left > 0, left - 1, row)
    entry = np.zeros(blocks, np.uint8)
    for block in range(1, blocks):
        entry[block] = left[entry[block - 1], block - 1]
    idle = np.empty(table.shape, bool)
    for at, row in enumerate(table):
        np.equal(entry, 0, out=idle[at])
        entry = np.where(entry > 0, entry - 1, row)
    return np.ascontiguousarray(idle.T).reshape(-1)[:size]
