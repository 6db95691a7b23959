"""AEDAT 3.1 recordings (``.aedat``: cAER and early DV; DVS Gesture is published so).

Source: iniVation's description of AEDAT 3.1. Header lines begin with ``#`` and end with ``#!END-HEADER``; then packets,
little-endian: a header of 28 bytes (type, source, event size, offset of the time, overflows of the time, capacity,
number, valid), then ``number`` events. A polarity event (type 1) is two words: validity bit, polarity bit, row 15 bits,
column 15 bits; and 31 bits of microseconds. The origin is the upper left corner.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping

import numpy as np

from engine.data.events import MAX_EVENTS_PER_SAMPLE
from engine.data.readers.recording import Recording, not_a_recording, truncated
from engine.errors import InvalidDataset

MAGIC = b"#!AER-DAT"
VERSION = b"#!AER-DAT3.1"
END = b"#!END-HEADER"
MAX_HEADER_BYTES = 1 << 20  # a header may hold the camera's settings
POLARITY, EVENT_BYTES = 1, 8
_PACKET = struct.Struct("<2h6i")
_SOURCE = re.compile(rb"^#Source \d+: *([A-Za-z0-9]+)", re.M)
# (rows, columns) of the cameras that the format names
SENSORS: Mapping[str, tuple[int, int]] = {
    "DVS128": (128, 128),
    "DAVIS128": (128, 128),
    "DAVIS208": (192, 208),
    "DAVIS240A": (180, 240),
    "DAVIS240B": (180, 240),
    "DAVIS240C": (180, 240),
    "DAVIS346": (260, 346),
    "DAVIS346A": (260, 346),
    "DAVIS346B": (260, 346),
    "DAVIS346C": (260, 346),
    "DAVIS640": (480, 640),
}


def decode_aedat3(data: bytes, name: str) -> Recording:
    """Valid polarity events of one ``.aedat`` file of version 3.1; frames, triggers and motion are left out.

    Args:
        data: the file.
        name: for messages.

    Raises:
        InvalidDataset: ``invalid_recording`` (another version or layout), ``truncated_recording``,
            ``sample_too_large``.
    """
    if not data.startswith(MAGIC):
        raise not_a_recording(name, f"a file that begins with {VERSION!r}", repr(data[: len(VERSION)]))
    if not data.startswith(VERSION + b"\r\n"):
        found = data[len(MAGIC) : len(MAGIC) + 8].split(b"\r")[0].decode("latin-1")
        raise not_a_recording(name, "AEDAT 3.1 (older files: convert them to AEDAT 4)", f"version {found!r}")
    end = data.find(END, 0, MAX_HEADER_BYTES)
    stop = data.find(b"\n", end, end + len(END) + 2) if end >= 0 else -1
    if stop < 0:
        raise not_a_recording(name, f"header lines that end with {END!r}", f"none in {min(len(data), 1 << 20)} bytes")
    words, times = [np.zeros(0, np.uint32)], [np.zeros(0, np.int64)]
    events = 0
    for overflow, packet in _packets(data, stop + 1, name):
        events += len(packet)
        if events > MAX_EVENTS_PER_SAMPLE:
            detail = f"recording {name!r}: expected at most {MAX_EVENTS_PER_SAMPLE} events, found more"
            raise InvalidDataset("sample_too_large", detail, name)
        words.append(packet[:, 0])
        times.append(packet[:, 1].view(np.int32).astype(np.int64) + (overflow << 31))
    word, time = np.concatenate(words), np.concatenate(times)
    valid = word & 1 == 1
    word, time = word[valid], time[valid]
    source = _SOURCE.search(data[:end])
    sensor = None if source is None else SENSORS.get(source[1].decode().upper())
    return Recording(time, word >> 2 & 0x7FFF, word >> 17, (word >> 1 & 1).astype(np.uint8), sensor)


def _packets(
    data: bytes, start: int, name: str
) -> Iterator[tuple[int, np.ndarray[tuple[int, int], np.dtype[np.uint32]]]]:
    """Overflows and words ``[event, 2]`` of every packet of polarity events."""
    number = 0
    while start < len(data):
        if len(data) - start < _PACKET.size:
            raise truncated(name, f"a packet header of {_PACKET.size} bytes", f"{len(data) - start} bytes")
        kind, _, size, _, overflow, capacity, events, _ = _PACKET.unpack_from(data, start)
        start += _PACKET.size
        if size < 1 or not 0 <= events <= capacity or overflow < 0:
            found = f"{events} events of {size} bytes in a capacity of {capacity}"
            raise not_a_recording(name, f"a possible header in packet {number}", found)
        if len(data) - start < size * events:
            expected = f"{events} events of {size} bytes in packet {number}"
            raise truncated(name, expected, f"{len(data) - start} bytes")
        if kind == POLARITY:
            if size != EVENT_BYTES:
                expected = f"polarity events of {EVENT_BYTES} bytes in packet {number}"
                raise not_a_recording(name, expected, f"{size} bytes")
            yield overflow, np.frombuffer(data, "<u4", 2 * events, start).reshape(-1, 2)  # [event, word]
        start, number = start + size * events, number + 1
