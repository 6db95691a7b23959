"""Events npz: per split flat arrays ``t_* p_* row_* col_*`` ``[event]``, ``offsets_*`` ``[sample + 1]``, ``y_*``.

``t`` in microseconds from the sample's start, ``p`` 0 or 1 (1 is ON); events of sample k are
``offsets[k]:offsets[k+1]``. Optional ``classes``, and ``sensor`` with rows and columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from engine.data.events import CHUNK_EVENTS, MAX_SAMPLES, SPLITS, Chunk, EventSource
from engine.data.frames import class_names
from engine.data.npz import ArrayEntry, open_arrays
from engine.data.readers.labels import check_labels
from engine.data.zip_safe import ZipLimits
from engine.errors import InvalidDataset

FIELDS = ("t", "p", "row", "col")
Arrays = Mapping[str, ArrayEntry]


def read_events_npz(file: BinaryIO, limits: ZipLimits) -> EventSource:
    """Open an events npz.

    Args:
        file: the upload, open as long as the source is used.
        limits: bounds on members and declared bytes.

    Raises:
        InvalidDataset: what the npz reader refuses, ``missing_array``, ``events_type``, ``events_shape``,
            ``invalid_offsets``, or what labels refuse.
    """
    arrays = open_arrays(file, limits)
    names = _present(arrays)
    offsets = {name: _offsets(arrays, name) for name in names}
    classes = class_names(arrays["classes"]) if "classes" in arrays else None
    count = None if classes is None else len(classes)
    labels, splits = [], []
    for name in names:
        samples = len(offsets[name]) - 1
        entry = arrays[f"y_{name}"]
        if entry.header.count > MAX_SAMPLES:
            detail = f"array 'y_{name}': expected at most {MAX_SAMPLES} labels, found {entry.shape}"
            raise InvalidDataset("labels_shape", detail, f"y_{name}")
        labels.append(check_labels(f"y_{name}", entry.read(), samples, count))
        splits.append(np.full(samples, SPLITS.index(name), np.uint8))
    starts = dict(zip(names, np.cumsum([0, *(len(part) for part in labels)]).tolist(), strict=False))

    def name_of(sample: int) -> str:
        name = next(n for n in reversed(names) if starts[n] <= sample)
        return f"{name} sample {sample - starts[name]}"

    def chunks() -> Iterator[Chunk]:
        for name in names:
            yield from _chunks(arrays, name, offsets[name], starts[name])

    return EventSource(
        labels=np.concatenate(labels),
        split=np.concatenate(splits),
        chunks=chunks,
        name_of=name_of,
        sensor=_sensor(arrays),
        classes=classes,
    )


def _present(arrays: Arrays) -> list[str]:
    """Splits of which every array is there."""
    found = ", ".join(sorted(arrays)) or "none"
    names = [name for name in SPLITS if any(f"{field}_{name}" in arrays for field in (*FIELDS, "offsets", "y"))]
    for name in names or ["test"]:
        for field in (*FIELDS, "offsets", "y"):
            if f"{field}_{name}" not in arrays:
                detail = f"expected the arrays {', '.join(f'{f}_{name}' for f in (*FIELDS, 'offsets', 'y'))}"
                raise InvalidDataset("missing_array", f"{detail}; {field}_{name} is missing, found {found}", name)
    return names


def _offsets(arrays: Arrays, name: str) -> NDArray[np.int64]:
    """Where each sample's events begin and end."""
    label, events = f"offsets_{name}", arrays[f"t_{name}"].header.count
    for field in FIELDS:
        entry = arrays[f"{field}_{name}"]
        if entry.dtype.kind not in "iu" and not (field == "p" and entry.dtype.kind == "b"):
            detail = f"array '{field}_{name}': expected whole numbers, found {entry.dtype}"
            raise InvalidDataset("events_type", detail, f"{field}_{name}")
        if entry.shape != (events,):
            detail = f"array '{field}_{name}': expected one value per event, shape ({events},), found {entry.shape}"
            raise InvalidDataset("events_shape", detail, f"{field}_{name}")
    entry = arrays[label]
    if entry.dtype.kind not in "iu" or len(entry.shape) != 1 or not 2 <= entry.shape[0] <= MAX_SAMPLES + 1:
        detail = f"array {label!r}: expected whole numbers, 2 to {MAX_SAMPLES + 1} of them, found {entry.dtype}"
        raise InvalidDataset("invalid_offsets", f"{detail} of shape {entry.shape}", label)
    values = entry.read()
    wide = values.astype(np.int64)
    falls = np.flatnonzero((wide[1:] < wide[:-1]) | (values[1:] > events) | (wide[1:] < 0))
    if int(wide[0]) or int(wide[-1]) != events or len(falls):
        where = f"{int(wide[falls[0] + 1])} at {int(falls[0]) + 1}" if len(falls) else f"{wide[0]} to {wide[-1]}"
        detail = f"array {label!r}: expected offsets that rise from 0 to the number of events, {events}, found {where}"
        raise InvalidDataset("invalid_offsets", detail, label)
    return wide


def _sensor(arrays: Arrays) -> tuple[int, int] | None:
    if "sensor" not in arrays:
        return None
    entry = arrays["sensor"]
    if entry.dtype.kind not in "iu" or entry.shape != (2,) or int(entry.read().min()) < 1:
        detail = f"array 'sensor': expected rows and columns, found {entry.dtype} of shape {entry.shape}"
        raise InvalidDataset("events_shape", detail, "sensor")
    rows, columns = (int(size) for size in entry.read())
    return rows, columns


def _chunks(arrays: Arrays, name: str, offsets: NDArray[np.int64], first: int) -> Iterator[Chunk]:
    """The four arrays side by side, the same number of events of each at a time."""
    streams = [_Stream(arrays[f"{field}_{name}"].blocks()) for field in FIELDS]
    events = int(offsets[-1])
    for start in range(0, events, CHUNK_EVENTS):
        size = min(CHUNK_EVENTS, events - start)
        t, p, row, col = (stream.take(size) for stream in streams)
        low = int(np.searchsorted(offsets, start, "right")) - 1
        high = int(np.searchsorted(offsets, start + size, "left"))
        bounds = np.clip(offsets[low : high + 1], start, start + size)
        sample = np.repeat(np.arange(first + low, first + high), np.diff(bounds))
        yield Chunk(sample, t, row, col, p.view(np.uint8) if p.dtype.kind == "b" else p)
    for stream in streams:
        stream.finish()


class _Stream:
    """Blocks of any size in, pieces of the asked size out."""

    def __init__(self, blocks: Iterator[NDArray[Any]]) -> None:
        self._blocks = blocks
        self._rest: list[NDArray[Any]] = []
        self._held = 0

    def take(self, size: int) -> NDArray[Any]:
        """The next ``size`` values."""
        while self._held < size:
            block = next(self._blocks)
            self._rest.append(block)
            self._held += len(block)
        joined = self._rest[0] if len(self._rest) == 1 else np.concatenate(self._rest)
        self._rest, self._held = [joined[size:]], self._held - size
        return joined[:size]

    def finish(self) -> None:
        """Read to the end, where the check sum is compared."""
        for _ in self._blocks:
            pass
