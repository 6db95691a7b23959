"""AEDAT 4 recordings (iniVation cameras), through the ``aedat`` package (MIT; a Rust reader with NumPy arrays)."""

from __future__ import annotations

import tempfile

import numpy as np

from engine.data.events import MAX_EVENTS_PER_SAMPLE
from engine.data.readers.recording import Recording, not_a_recording, truncated
from engine.errors import InvalidDataset

MAGIC = b"#!AER-DAT4.0\r\n"


def decode_aedat4(data: bytes, name: str) -> Recording:
    """Events of the first event stream of one ``.aedat4`` file.

    Raises:
        InvalidDataset: ``invalid_recording``, ``truncated_recording``, ``sample_too_large``.
    """
    import aedat

    _check_header(data, name)
    with tempfile.NamedTemporaryFile(suffix=".aedat4") as copy:
        copy.write(data)
        copy.flush()
        try:
            decoder = aedat.Decoder(copy.name)
            streams = {number: kind for number, kind in decoder.id_to_stream().items() if kind["type"] == "events"}
            if not streams:
                raise not_a_recording(name, "a stream of events", "none")
            first = min(streams)
            parts, events = [], 0
            for packet in decoder:
                if packet["stream_id"] == first and "events" in packet:
                    parts.append(packet["events"])
                    events += len(parts[-1])
                    if events > MAX_EVENTS_PER_SAMPLE:
                        detail = f"recording {name!r}: expected at most {MAX_EVENTS_PER_SAMPLE} events, found more"
                        raise InvalidDataset("sample_too_large", detail, name)
        except InvalidDataset:
            raise
        except BaseException as error:  # a panic of the Rust reader is not an Exception
            if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
                raise
            raise truncated(name, "a whole AEDAT 4 file", str(error)[:160]) from error
    sensor = (int(streams[first]["height"]), int(streams[first]["width"]))
    if not parts:
        none = np.zeros(0, np.int64)
        return Recording(none, none, none, none, sensor)
    found = np.concatenate(parts)
    return Recording(found["t"], found["y"], found["x"], found["on"].astype(np.uint8), sensor)


def _check_header(data: bytes, name: str) -> None:
    """Name, length and text of the header: text that is not UTF-8 would end the package's reader with the process."""
    if not data.startswith(MAGIC):
        raise not_a_recording(name, f"a file that begins with {MAGIC!r}", repr(data[: len(MAGIC)]))
    start = len(MAGIC) + 4
    size = int.from_bytes(data[len(MAGIC) : start], "little")
    header = data[start : start + size]
    if len(data) < start or len(header) < size:
        raise truncated(name, f"a header of {size} bytes", f"{max(0, len(data) - start)} bytes behind the name")
    text = header[header.find(b"<") :] if b"<" in header else b""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise not_a_recording(
            name, "a description in UTF-8 in the header", f"the bytes {text[error.start :][:8]!r}"
        ) from error
    if not text:
        raise not_a_recording(name, "a description (XML) in the header", "none")
