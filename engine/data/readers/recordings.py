"""A zip of camera recordings, one file a sample, labelled by folders or by ``labels.csv``; decoders by suffix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.data.events import Chunk, EventSource, whole_sample
from engine.data.readers.aedat3 import decode_aedat3
from engine.data.readers.aedat4 import decode_aedat4
from engine.data.readers.archive import Archive, open_archive
from engine.data.readers.event_stream import decode_es
from engine.data.readers.nmnist import decode_bin
from engine.data.readers.prophesee import decode_dat, decode_raw
from engine.data.readers.recording import Recording
from engine.data.zip_safe import ZipLimits
from engine.errors import InvalidDataset

# Suffix of a recording → decoder of its bytes.
DECODERS: dict[str, Callable[[bytes, str], Recording]] = {
    ".aedat": decode_aedat3,
    ".aedat4": decode_aedat4,
    ".bin": decode_bin,
    ".dat": decode_dat,
    ".es": decode_es,
    ".raw": decode_raw,
}
# Known formats without a reader that installs under a licence that can be used here.
NO_READER = (".hdf5", ".bag")


@contextmanager
def open_recordings(path: Path, limits: ZipLimits) -> Iterator[EventSource]:
    """Open a zip of recordings.

    Raises:
        InvalidDataset: what :func:`open_archive` and the decoders refuse, ``no_reader``, ``sensor_mismatch``.
    """
    with path.open("rb") as file:
        archive = open_archive(file, limits, (*DECODERS, *NO_READER))
        for member in archive.members:
            suffix = _suffix(member.name)
            if suffix in NO_READER:
                known = ", ".join(DECODERS)
                detail = (
                    f"recording {member.name!r}: expected one of {known}, found {suffix}: there is no reader for it"
                )
                raise InvalidDataset("no_reader", detail, member.name)
        first = _decode(archive, 0)

        def chunks() -> Iterator[Chunk]:
            for number, member in enumerate(archive.members):
                found = _decode(archive, number)
                if found.sensor != first.sensor:
                    detail = f"recording {member.name!r}: expected the sensor {first.sensor} of the first recording"
                    raise InvalidDataset("sensor_mismatch", f"{detail}, found {found.sensor}", member.name)
                yield from whole_sample(number, found.t_us, found.row, found.column, found.polarity)

        yield EventSource(
            labels=archive.labels,
            split=archive.split,
            chunks=chunks,
            name_of=lambda sample: f"recording {archive.members[sample].name!r}",
            sensor=first.sensor,
            classes=archive.classes,
            start="first_event",
        )


def _decode(archive: Archive, number: int) -> Recording:
    name = archive.members[number].name
    return DECODERS[_suffix(name)](archive.data(number), name)


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()
