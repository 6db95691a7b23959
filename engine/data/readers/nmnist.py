"""N-MNIST: a zip of ``.bin`` files, five bytes an event, below ``Train/<digit>/`` and ``Test/<digit>/``.

Source: Orchard et al. 2015, "Converting static image datasets to spiking neuromorphic datasets using saccades". An
event is 40 bits, most significant first: x 8, y 8, polarity 1 (1 is ON), time 23 (microseconds). The same layout is
used by N-Caltech101, with a larger sensor: say it in the transform.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from engine.data.events import Chunk, EventSource, whole_sample
from engine.data.readers.archive import open_archive
from engine.data.readers.recording import Recording
from engine.data.zip_safe import ZipLimits
from engine.errors import InvalidDataset

SENSOR = (34, 34)
EVENT_BYTES = 5


def decode_bin(data: bytes, name: str) -> Recording:
    """Events of one ``.bin`` file.

    Args:
        data: the file.
        name: for messages.

    Raises:
        InvalidDataset: ``truncated_recording``.

    Example:
        >>> found = decode_bin(bytes([3, 4, 0x80, 0, 7]), "a.bin")
        >>> [int(part[0]) for part in (found.t_us, found.row, found.column, found.polarity)]
        [7, 4, 3, 1]
    """
    if len(data) % EVENT_BYTES:
        detail = f"recording {name!r}: expected whole events of {EVENT_BYTES} bytes, found {len(data)} bytes"
        raise InvalidDataset("truncated_recording", detail, name)
    part = np.frombuffer(data, np.uint8).reshape(-1, EVENT_BYTES)  # [event, byte]
    wide = part.astype(np.int64)
    time = (wide[:, 2] & 0x7F) << 16 | wide[:, 3] << 8 | wide[:, 4]
    return Recording(time, part[:, 1], part[:, 0], part[:, 2] >> 7, None)


@contextmanager
def open_nmnist(path: Path, limits: ZipLimits) -> Iterator[EventSource]:
    """Open a zip of ``.bin`` files; raises what :func:`open_archive` and :func:`decode_bin` do."""
    with path.open("rb") as file:
        archive = open_archive(file, limits, (".bin",))

        def chunks() -> Iterator[Chunk]:
            for number, member in enumerate(archive.members):
                found = decode_bin(archive.data(number), member.name)
                yield from whole_sample(number, found.t_us, found.row, found.column, found.polarity)

        yield EventSource(
            labels=archive.labels,
            split=archive.split,
            chunks=chunks,
            name_of=lambda sample: f"recording {archive.members[sample].name!r}",
            sensor=SENSOR,
            classes=archive.classes,
        )
