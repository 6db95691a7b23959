"""Format name → reader of events; ``frames`` is read by :mod:`engine.data.frames`, since it has no events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.data.events import EventSource
from engine.data.readers.events_npz import read_events_npz
from engine.data.readers.form import Reader
from engine.data.readers.nmnist import open_nmnist
from engine.data.readers.recordings import open_recordings
from engine.data.zip_safe import ZipLimits


@contextmanager
def _open_events(path: Path, limits: ZipLimits) -> Iterator[EventSource]:
    with path.open("rb") as file:
        yield read_events_npz(file, limits)


@contextmanager
def _open_shd(path: Path, limits: ZipLimits) -> Iterator[EventSource]:
    from engine.data.readers.shd import open_shd  # with it h5py, which no other format needs

    with open_shd(path, limits) as source:
        yield source


READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (
        Reader("events", "npz of flat event arrays with offsets", _open_events),
        Reader("shd", "HDF5 in the layout of the Heidelberg digits, or a zip of some", _open_shd),
        Reader("recordings", "zip of camera recordings, labelled by folders or a table", open_recordings),
        Reader("nmnist", "zip of N-MNIST .bin files in folders named for their labels", open_nmnist),
    )
}
