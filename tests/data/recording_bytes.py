"""Camera recordings written event by event, as the formats are described: the decoders' other side, byte after byte.

Events are rows ``(t, row, column, polarity)`` in order of time, as :func:`tests.data.event_files.random_events` draws.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from tests.data.event_files import SENSOR

ROWS, COLUMNS = SENSOR


def es_bytes(events: Any, sensor: tuple[int, int] = SENSOR, version: int = 2) -> bytes:
    """Event Stream, type 1."""
    out = bytearray(b"Event Stream") + bytes([version, 0, 0, 1]) + struct.pack("<HH", sensor[1], sensor[0])
    last = 0
    for t, row, column, polarity in np.asarray(events).tolist():
        wait, last = t - last, t
        out += b"\xff" * (wait // 127)
        out += struct.pack("<BHH", (wait % 127) << 1 | polarity, column, row)
    return bytes(out)


def atis_bytes(events: Any, sensor: tuple[int, int] = SENSOR) -> bytes:
    """Event Stream, type 2: resets and an exposure measurement between any two contrast events."""
    out = bytearray(b"Event Stream") + bytes([2, 0, 0, 2]) + struct.pack("<HH", sensor[1], sensor[0])
    last = 0
    for t, row, column, polarity in np.asarray(events).tolist():
        wait, last = t - last, t
        out += b"\xfc" * 5 + struct.pack("<BHH", 0b01, column, row)
        passed = wait // 63
        out += b"\xff" * (passed // 3) + [b"", b"\xfd", b"\xfe"][passed % 3]
        out += struct.pack("<BHH", (wait % 63) << 2 | polarity << 1, column, row)
    return bytes(out)


def aedat3_bytes(
    events: Any, source: str = "DVS128", version: str = "3.1", overflow: int = 0, together: int = 3
) -> bytes:
    """AEDAT 3.1 in packets of few events, an invalid event and a packet of another type among them."""
    lines = (f"#!AER-DAT{version}", "#Format: RAW", f"#Source 1: {source}", "#Start-Time: 2026-01-01", "#!END-HEADER")
    out = bytearray("".join(f"{line}\r\n" for line in lines).encode()) + _packet(0, 12, [bytes(12)] * 2, 0)
    rows = np.asarray(events).tolist()
    for start in range(0, len(rows), together):
        words = [
            struct.pack("<Ii", column << 17 | row << 2 | polarity << 1 | 1, t)
            for t, row, column, polarity in rows[start : start + together]
        ]
        out += _packet(1, 8, [struct.pack("<Ii", 0, 0), *words], overflow)
    return bytes(out)


def _packet(kind: int, size: int, events: list[bytes], overflow: int) -> bytes:
    count = len(events)
    return struct.pack("<hhiiiiii", kind, 1, size, size - 4, overflow, count, count, count) + b"".join(events)


def evt2_bytes(events: Any) -> bytes:
    """EVT 2.0."""
    words = []
    for t, row, column, polarity in np.asarray(events).tolist():
        words += [8 << 28 | t >> 6, polarity << 28 | (t & 63) << 22 | column << 11 | row]
    return _header("evt 2.0") + np.array(words, "<u4").tobytes()


def evt21_bytes(events: Any, legacy: bool = False, word: str | None = None) -> bytes:
    """EVT 2.1, one pixel a word, each held by another of the 32 columns behind the word's first."""
    words = []
    for number, (t, row, column, polarity) in enumerate(np.asarray(events).tolist()):
        bit = min(column, number % 32)
        head = (polarity << 28 | (t & 63) << 22 | (column - bit) << 11 | row) << 32
        words += [(8 << 28 | t >> 6) << 32, head | 1 << bit]
    halves = [struct.pack("<II", *((w >> 32, w & 0xFFFFFFFF) if legacy else (w & 0xFFFFFFFF, w >> 32))) for w in words]
    said = word or f"format EVT21;height={ROWS};width={COLUMNS}" + (";endianness=legacy" if legacy else "")
    return _header(said) + b"".join(halves)


def evt3_bytes(events: Any) -> bytes:
    """EVT 3.0, one column a word."""
    words = []
    for t, row, column, polarity in np.asarray(events).tolist():
        words += [8 << 12 | t >> 12, 6 << 12 | t & 0xFFF, row, 2 << 12 | polarity << 11 | column]
    return _header("evt 3.0") + np.array(words, "<u2").tobytes()


def dat_bytes(events: Any) -> bytes:
    """DAT, version 2."""
    head = f"% Version 2\n% Width {COLUMNS}\n% Height {ROWS}\n".encode() + bytes([12, 8])
    words = [(t, polarity << 28 | row << 14 | column) for t, row, column, polarity in np.asarray(events).tolist()]
    return head + np.array(words, "<u4").reshape(-1, 2).tobytes()


def _header(word: str) -> bytes:
    return f"% {word}\n% geometry {COLUMNS}x{ROWS}\n% end\n".encode()
