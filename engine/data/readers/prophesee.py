"""Recordings of Prophesee cameras: ``.dat`` (version 2) and ``.raw`` in EVT 2.0, EVT 2.1 and EVT 3.0.

Source: the public descriptions of the DAT, EVT 2.0, 2.1 and 3.0 formats in the Metavision SDK's documentation. NumPy
alone: the readers that install are under the GPL, or link code that is. Header lines begin with ``%``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.readers.recording import Recording, not_a_recording, truncated

MAX_HEADER_BYTES = 1 << 16
_SIZE = re.compile(r"(?:geometry[ :]+|;?width=|width )(\d{1,5})(?:x|;height=|\s.*?height )(\d{1,5})", re.S | re.I)
_VERSION = re.compile(r"% (?:evt|format evt)\s*([0-9]+(?:\.[0-9]+)?)", re.I)
_DAT_VERSION = re.compile(r"% version (\d+)", re.I)
_DAT_EVENTS = (0, 12)  # 2D and contrast-detection events, which are laid out alike
Words = NDArray[np.integer[Any]]


def decode_dat(data: bytes, name: str) -> Recording:
    """Events of one ``.dat`` file: 4 bytes of time in µs, then x 14 bits, y 14, polarity 4, least significant first.

    Raises:
        InvalidDataset: ``invalid_recording``, ``truncated_recording``.
    """
    header, start = _header(data, name)
    version = _DAT_VERSION.search(header)
    if version is None or version[1] != "2":
        raise not_a_recording(name, "a DAT header with version 2", "none" if version is None else version[0])
    kind, size = (*data[start : start + 2], 0, 0)[:2]
    if kind not in _DAT_EVENTS or size != 8:
        raise not_a_recording(name, "contrast events (type 0 or 12) of 8 bytes", f"type {kind} of {size} bytes")
    words = _words(data[start + 2 :], "<u4", 2, name)
    time, value = words[0::2].astype(np.int64), words[1::2]
    polarity = (value >> 28).astype(np.uint8)
    return Recording(time, value >> 14 & 0x3FFF, value & 0x3FFF, polarity, _sensor(header))


def decode_raw(data: bytes, name: str) -> Recording:
    """Events of one ``.raw`` file in EVT 2.0, 2.1 or 3.0, as its header says.

    Raises:
        InvalidDataset: ``invalid_recording``, ``truncated_recording``.
    """
    header, start = _header(data, name)
    found = _VERSION.search(header)
    version = found[1].removesuffix(".0") if found else "none"
    if version in ("2.1", "21"):
        version = "2.1 legacy" if "endianness=legacy" in header.lower() else "2.1"
    if version not in _DECODERS:
        raise not_a_recording(name, "a header that says EVT 2.0, EVT 2.1 or EVT 3.0", f"version {version}")
    return _DECODERS[version](data[start:], name, _sensor(header))


def _evt2(data: bytes, name: str, sensor: tuple[int, int] | None) -> Recording:
    """Words of 32 bits, type in the highest 4: 0 and 1 events (OFF, ON), 8 the time's high part in units of 64 µs."""
    words = _words(data, "<u4", 1, name)
    kind = words >> 28
    high = kind == 8
    time = _held(words & 0x0FFFFFFF, high).astype(np.int64) << 6
    chosen = (kind <= 1) & (np.cumsum(high) > 0)
    _known(kind, (0, 1, 8, 10, 14, 15), name)
    event = words[chosen]
    return Recording(
        time[chosen] | (event >> 22 & 0x3F), event & 0x7FF, event >> 11 & 0x7FF, kind[chosen].astype(np.uint8), sensor
    )


def _evt21(data: bytes, name: str, sensor: tuple[int, int] | None) -> Recording:
    """Words of 64 bits; the higher half is laid out as a word of EVT 2.0, the lower says which of 32 columns fired."""
    words = _words(data, "<u8", 1, name)
    head = words >> 32
    kind = head >> 28
    _known(kind, (0, 1, 8, 10, 14, 15), name)
    high = kind == 8
    chosen = np.flatnonzero((kind <= 1) & (np.cumsum(high) > 0))
    time = (_held(head & 0x0FFFFFFF, high) << 6)[chosen]
    masks = np.ascontiguousarray(words[chosen] & 0xFFFFFFFF).astype("<u4").view(np.uint8).reshape(-1, 4)
    at, offset = np.nonzero(np.unpackbits(masks, axis=1, bitorder="little"))  # [word, column behind the first]
    event = head[chosen].astype(np.int64)
    time = time | event >> 22 & 0x3F
    column, row = (event >> 11 & 0x7FF)[at] + offset, (event & 0x7FF)[at]
    return Recording(time[at], row, column, kind[chosen].astype(np.uint8)[at], sensor)


def _evt21_legacy(data: bytes, name: str, sensor: tuple[int, int] | None) -> Recording:
    """The same with the halves of each word swapped, as the first sensors send them (``endianness=legacy``)."""
    halves = _words(data, "<u4", 2, name).reshape(-1, 2)
    return _evt21(np.ascontiguousarray(halves[:, ::-1]).tobytes(), name, sensor)


def _evt3(data: bytes, name: str, sensor: tuple[int, int] | None) -> Recording:
    """Words of 16 bits, type in the highest 4, each changing a part of the state.

    0 row; 2 event at a column; 3 base column of vectors; 4 and 5 vectors of 12 and 8 events, which move the base on; 6
    and 8 the low and high 12 bits of the time in µs. A high part that falls by more than half its range has wrapped.
    """
    words = _words(data, "<u2", 1, name)
    kind, value = words >> 12, words.astype(np.int64) & 0xFFF
    _known(kind, (0, 2, 3, 4, 5, 6, 7, 8, 10, 14, 15), name)
    low, high = _held(value, kind == 6), _held(value, kind == 8)
    wraps = np.cumsum(np.diff(high, prepend=high[:1]) < -0x800)
    time = (wraps << 24) + (high << 12) + low
    row = _held(value & 0x7FF, kind == 0)
    moved = np.where(kind == 4, 12, np.where(kind == 5, 8, 0))
    before = np.cumsum(moved) - moved
    base = _held(value & 0x7FF, kind == 3) + before - _held(before, kind == 3)
    sign = np.where(kind == 2, value >> 11, _held(value >> 11, kind == 3))
    ready = (np.cumsum(kind == 6) > 0) & (np.cumsum(kind == 8) > 0) & (np.cumsum(kind == 0) > 0)
    vector = ready & ((kind == 4) | (kind == 5)) & (np.cumsum(kind == 3) > 0)
    bits = (value[:, None] >> np.arange(12) & 1).astype(bool) & vector[:, None]  # [word, column within the vector]
    bits &= ~((kind == 5)[:, None] & (np.arange(12) >= 8))
    at, offset = np.nonzero(bits | ((kind == 2) & ready)[:, None] & (np.arange(12) == 0))
    single = kind[at] == 2
    column = np.where(single, value[at] & 0x7FF, base[at] + offset)
    return Recording(time[at], row[at], column, sign[at].astype(np.uint8), sensor)


_DECODERS: dict[str, Callable[[bytes, str, tuple[int, int] | None], Recording]] = {
    "2": _evt2,
    "2.1": _evt21,
    "2.1 legacy": _evt21_legacy,
    "3": _evt3,
}


def _header(data: bytes, name: str) -> tuple[str, int]:
    """The lines that begin with ``%``, and where they end."""
    start = 0
    while data[start : start + 1] == b"%":
        end = data.find(b"\n", start, start + MAX_HEADER_BYTES)
        if end < 0 or end > MAX_HEADER_BYTES:
            raise not_a_recording(name, f"header lines of at most {MAX_HEADER_BYTES} bytes", "a longer one")
        line, start = data[start:end], end + 1
        if line.strip().lower() == b"% end":
            break
    if not start:
        raise not_a_recording(name, "a header whose lines begin with %", f"the bytes {data[:8]!r}")
    return data[:start].decode("latin-1"), start


def _sensor(header: str) -> tuple[int, int] | None:
    """Rows and columns, where the header says them."""
    found = _SIZE.search(header)
    return None if found is None else (int(found[2]), int(found[1]))


def _words(data: bytes, kind: str, together: int, name: str) -> Words:
    size = np.dtype(kind).itemsize * together
    if len(data) % size:
        raise truncated(name, f"whole words of {size} bytes after the header", f"{len(data)} bytes")
    words: Words = np.frombuffer(data, kind)
    return words


def _held(values: Words, changes: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Each value kept until the next change; 0 before the first."""
    last = np.maximum.accumulate(np.where(changes, np.arange(len(values)), -1))
    return np.where(last >= 0, values[np.maximum(last, 0)].astype(np.int64), 0) if len(values) else values.astype(int)


def _known(kind: Words, known: tuple[int, ...], name: str) -> None:
    wrong = ~np.isin(kind, known)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise not_a_recording(name, f"words of the types {', '.join(map(str, known))}", f"{int(kind[at])} in word {at}")
