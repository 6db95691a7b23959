"""The canonical form of events: places in frames, uncompressed, so that any sample can be read and binned alone.

An npz with stored members: ``meta`` (UTF-8 JSON), ``classes``, and per split ``y_*`` int64 ``[sample]``, ``offsets_*``
int64 ``[sample + 1]``, ``places_*`` uint32 ``[event]``: flat indices into the sample's frames ``[time, ...]``, in the
order of the source. ``meta`` holds format, source digest and transform: the file's digest covers them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from engine.data.batches import Origin
from engine.data.binning import Binner, Tally
from engine.data.events import SPLITS, EventSource
from engine.data.geometry import Geometry, check_size, geometry_of
from engine.data.npz import Column, write_npz
from engine.data.rows import PLACE
from engine.data.splits import assign_splits
from engine.errors import InvalidDataset
from engine.specs.data import MAX_SENSOR, Transform

_ONE = np.uint32(1)
BLOCK_EVENTS = 1 << 18


@dataclass(frozen=True)
class EventsSummary:
    """Facts about an event dataset, for the record and for checks against a model."""

    splits: dict[str, int]
    steps: int
    sample_shape: tuple[int, ...]
    classes: tuple[str, ...]
    most: int
    sensor: tuple[int, int]
    max_label: int
    tally: Tally
    origin: Origin

    def as_json(self) -> dict[str, Any]:
        """JSON-ready form, a superset of what a frames file has."""
        return {
            "splits": self.splits,
            "steps": self.steps,
            "sample_shape": list(self.sample_shape),
            "classes": list(self.classes),
            "value_range": [0.0, float(self.most)],
            "dtype": count_type(self.most).name,
            "max_label": self.max_label,
            "only_test": not self.splits["train"],
            "sensor": list(self.sensor),
            "events": asdict(self.tally),
        }


def canonicalise_events(source: EventSource, target: Path, transform: Transform, origin: Origin) -> EventsSummary:
    """Check every event of a source and write the canonical form.

    One pass where sensor and steps are known, else one more before it to find them.

    Args:
        source: an opened upload.
        target: the file to write; parts of it lie beside it meanwhile.
        transform: from events to frames.
        origin: kept in the file.

    Raises:
        InvalidDataset: ``binning_required`` or whatever the binner, geometry and splits refuse.
    """
    if transform.binning is None:
        detail = "expected a binning by time or by count for events, found none"
        raise InvalidDataset("binning_required", detail, "/transform/binning")
    assigned = assign_splits(source.labels, source.split, transform.split)
    geometry, steps = _survey(source, transform)
    check_size(steps, geometry)
    binner = Binner(source, transform, geometry, steps)
    present = [code for code in range(len(SPLITS)) if (assigned == code).any()]
    with ExitStack() as stack:
        parts = {code: stack.enter_context(_part(target, SPLITS[code])) for code in present}
        counts = _write_places(binner, assigned, parts)
        offsets = {code: np.r_[0, np.cumsum(counts[assigned == code])].astype(np.int64) for code in present}
        binary, values = transform.values == "binary", steps * geometry.values
        most = {SPLITS[code]: 1 if binary else _highest(parts[code], offsets[code], values) for code in present}
        highest = int(source.labels.max())
        classes = source.classes or tuple(str(number) for number in range(highest + 1))
        meta = asdict(origin) | {"steps": steps, "sample_shape": geometry.sample_shape, "most": most}
        columns = {"meta": _column(np.frombuffer(json.dumps(meta, sort_keys=True).encode(), np.uint8))}
        columns["classes"] = _column(np.array(classes))
        for code in present:
            name = SPLITS[code]
            columns[f"y_{name}"] = _column(source.labels[assigned == code])
            columns[f"offsets_{name}"] = _column(offsets[code])
            columns[f"places_{name}"] = Column(PLACE, (int(offsets[code][-1]),), _blocks(parts[code]))
        write_npz(target, columns, stored=True)
    splits = {name: int((assigned == code).sum()) for code, name in enumerate(SPLITS)}
    top, shape = max(most.values()), geometry.sample_shape
    return EventsSummary(splits, steps, shape, classes, top, geometry.sensor, highest, binner.tally, origin)


def count_type(most: int) -> np.dtype[Any]:
    """The narrowest type that holds counts up to ``most``.

    Example:
        >>> count_type(8).name, count_type(300).name
        ('uint8', 'uint16')
    """
    return np.min_scalar_type(most)


def _survey(source: EventSource, transform: Transform) -> tuple[Geometry, int]:
    """Sensor and steps; what neither the file nor the transform says is found in a pass over the events."""
    sensor = transform.sensor or source.sensor
    if sensor is not None and not source.has_rows:
        sensor = (1, sensor[1])
    steps = None if transform.binning is None else transform.binning.steps
    if sensor is not None and steps is not None:
        return geometry_of(source, transform, sensor), steps
    widest = sensor or (MAX_SENSOR if source.has_rows else 1, MAX_SENSOR)
    binner = Binner(source, transform, geometry_of(source, transform, widest), None)
    rows = columns = 0
    for chunk in source.chunks():
        binner.feed(chunk)
        rows = max(rows, 0 if chunk.row is None else int(chunk.row.max(initial=0)))
        columns = max(columns, int(chunk.column.max(initial=0)))
    if not binner.tally.events:
        raise InvalidDataset("no_events", "expected events, found none in any sample", None)
    found = sensor or (rows + 1, columns + 1)
    return geometry_of(source, transform, found), steps or max(1, binner.longest)


def _write_places(binner: Binner, assigned: NDArray[np.uint8], parts: dict[int, BinaryIO]) -> NDArray[np.int64]:
    """Every kept event into the part of its split; returns how many each sample has."""
    counts = np.zeros(len(assigned), np.int64)
    for chunk in binner.source.chunks():
        sample, place = binner.feed(chunk)
        if not len(sample):
            continue
        starts = np.flatnonzero(np.diff(sample, prepend=-1))
        lengths = np.diff(np.append(starts, len(sample)))
        counts[sample[starts]] += lengths
        place = place.astype(PLACE)
        codes = assigned[sample[starts]]
        for code in np.unique(codes).tolist():
            mine = place if (codes == code).all() else place[np.repeat(codes == code, lengths)]
            parts[code].write(mine.tobytes())
    if not binner.tally.events:
        raise InvalidDataset("no_events", "expected events, found none in any sample", None)
    return counts


def _highest(part: BinaryIO, offsets: NDArray[np.int64], values: int) -> int:
    """The most events of one sample that share a place; what was counted is cleared, not all of the frames."""
    part.seek(0)
    counts, most = np.zeros(values, np.uint32), 1
    for size in np.diff(offsets).tolist():
        places = np.frombuffer(part.read(size * PLACE.itemsize), PLACE)
        if size:
            np.add.at(counts, places, _ONE)
            most = max(most, int(counts[places].max()))
            counts[places] = 0
    return most


def _part(target: Path, name: str) -> BinaryIO:
    """A file beside the target without a name of its own: it is gone with the process."""
    path = target.with_name(f"{target.name}.{name}")
    file = path.open("w+b")
    path.unlink()
    return file


def _blocks(part: BinaryIO) -> Iterator[NDArray[Any]]:
    part.seek(0)
    while data := part.read(BLOCK_EVENTS * PLACE.itemsize):
        yield np.frombuffer(data, PLACE)


def _column(values: NDArray[Any]) -> Column:
    return Column(values.dtype, values.shape, iter([np.ascontiguousarray(values).reshape(-1)]))
