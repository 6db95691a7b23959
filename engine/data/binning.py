"""Events to places in frames: ranges and order are checked, then crop, polarity, down-sampling, binning; by chunks.

The place of an event is its flat index in its sample's frames ``[time, ...]``, so that frames are counts of places.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.events import MAX_EVENTS_PER_SAMPLE, Chunk, EventSource
from engine.data.geometry import Geometry
from engine.errors import InvalidDataset
from engine.specs.data import MAX_STEPS, TimeBins, Transform

MAX_TIME_US = 1 << 52  # 142 years; sums of two times stay exact
Index = NDArray[np.int64]


@dataclass
class Tally:
    """What became of the events."""

    events: int = 0
    kept: int = 0
    outside_crop: int = 0
    other_polarity: int = 0
    late: int = 0


@dataclass
class Numbering:
    """Numbers events within their sample, from 0, across chunks.

    Example:
        >>> count = Numbering()
        >>> count.of(np.array([0, 0, 1])).tolist(), count.of(np.array([1, 2])).tolist()
        ([0, 1, 0], [1, 0])
    """

    sample: int = -1
    seen: int = 0

    def of(self, sample: Index) -> Index:
        """The number of every event; ``sample`` ``[event]`` never falls."""
        if not len(sample):
            return sample
        starts = np.flatnonzero(np.diff(sample, prepend=-1))
        lengths = np.diff(np.append(starts, len(sample)))
        number = np.arange(len(sample)) - np.repeat(starts, lengths)
        if sample[0] == self.sample:
            number[: lengths[0]] += self.seen
        self.sample, self.seen = int(sample[-1]), int(number[-1]) + 1
        return number


@dataclass
class Binner:
    """Turns the chunks of one source, in their order, into samples and places.

    ``steps`` None: their number is not bounded yet, and ``longest`` finds it.
    """

    source: EventSource
    transform: Transform
    geometry: Geometry
    steps: int | None
    tally: Tally = field(default_factory=Tally)
    longest: int = 0
    _events: Numbering = field(default_factory=Numbering)
    _kept: Numbering = field(default_factory=Numbering)
    _last_us: int = 0
    _first_us: int = 0

    def feed(self, chunk: Chunk) -> tuple[Index, Index]:
        """Samples and places ``[kept event]`` of a chunk.

        Raises:
            InvalidDataset: ``event_out_of_range``, ``events_out_of_order``, ``sample_too_large``, ``too_many_steps``;
                the message names sample and event.
        """
        if not len(chunk):
            return chunk.sample, chunk.sample
        goes_on = int(chunk.sample[0]) == self._events.sample
        number = self._events.of(chunk.sample)
        if self._events.seen > MAX_EVENTS_PER_SAMPLE or int(number.max()) >= MAX_EVENTS_PER_SAMPLE:
            at = int(np.argmax(number))
            detail = f"{self._name(chunk, at)}: expected at most {MAX_EVENTS_PER_SAMPLE} events in a sample, found more"
            raise InvalidDataset("sample_too_large", detail, None)
        time = self._times(chunk, number, goes_on)
        keep, place = self._places(chunk, number)
        sample, time = (chunk.sample, time) if keep is None else (chunk.sample[keep], time[keep])
        step = self._steps(time, sample)
        self.tally.events += len(chunk)
        self.longest = max(self.longest, int(step.max()) + 1 if len(step) else 0)
        if self.steps is None and self.longest > MAX_STEPS:
            detail = f"{self._name(chunk, 0)}: expected at most {MAX_STEPS} steps, found {self.longest}"
            raise InvalidDataset("too_many_steps", detail, "/transform/binning")
        if self.steps is not None and self.longest > self.steps:
            sample, place, step = self._late(sample, place, step, self.steps)
        self.tally.kept += len(sample)
        return sample, step * self.geometry.values + place

    def _times(self, chunk: Chunk, number: Index, goes_on: bool) -> Index:
        """Times from the sample's zero; refuses what is negative or runs backwards."""
        if chunk.t_us.dtype.kind == "i":
            self._refuse(chunk, number, chunk.t_us < 0, "time", chunk.t_us, f"0 to {MAX_TIME_US} µs")
        if chunk.t_us.dtype.itemsize > 4:
            self._refuse(chunk, number, chunk.t_us > MAX_TIME_US, "time", chunk.t_us, f"0 to {MAX_TIME_US} µs")
        time = chunk.t_us.astype(np.int64)
        fall = np.diff(time, prepend=self._last_us if goes_on else 0) < 0
        fall &= number > 0
        if fall.any():
            at = int(np.argmax(fall))
            before = int(time[at - 1]) if at else self._last_us
            detail = f"{self._name(chunk, at)}, event {int(number[at])}: expected a time of at least {before} µs"
            detail = f"{detail} (events in order of time), found {int(time[at])} µs"
            raise InvalidDataset("events_out_of_order", detail, "t")
        starts = np.flatnonzero(number == 0)
        firsts = time[starts]
        if goes_on:
            starts, firsts = np.insert(starts, 0, 0), np.insert(firsts, 0, self._first_us)
        self._last_us, self._first_us = int(time[-1]), int(firsts[-1])
        if (self.transform.start or self.source.start) == "first_event":
            time = time - np.repeat(firsts, np.diff(np.append(starts, len(time))))
        return time

    def _places(self, chunk: Chunk, number: Index) -> tuple[Index | None, Index]:
        """Which events are kept (None: all), and their place within a step."""
        geometry, crop = self.geometry, self.geometry.crop
        rows, columns = geometry.sensor
        row, column, polarity = chunk.row, chunk.column, chunk.polarity
        self._in_range(chunk, number, "column" if geometry.has_rows else "unit", column, columns)
        if row is not None:
            self._in_range(chunk, number, "row", row, rows)
        if polarity is not None:
            self._in_range(chunk, number, "polarity", polarity, 2)
        inside = np.ones(len(chunk), bool)
        if self.transform.crop is not None:
            inside &= (column >= crop.left) & (column < crop.left + crop.width)
            if row is not None:
                inside &= (row >= crop.top) & (row < crop.top + crop.height)
        within = int(np.count_nonzero(inside))
        self.tally.outside_crop += len(inside) - within
        if polarity is not None and self.transform.polarity in ("on", "off"):
            inside &= polarity == int(self.transform.polarity == "on")
            self.tally.other_polarity += within - int(np.count_nonzero(inside))
        keep = None if inside.all() else np.flatnonzero(inside)
        place = _pixel(column, keep, crop.left, geometry.factor)
        if row is not None:
            place += _pixel(row, keep, crop.top, geometry.factor) * geometry.sample_shape[-1]
        if polarity is not None and geometry.channels == 2:
            place += _pixel(polarity, keep, 0, 1) * (geometry.values // 2)
        return keep, place

    def _steps(self, time: Index, sample: Index) -> Index:
        """The step of every kept event: of its time, or of its number among the kept ones."""
        binning = self.transform.binning
        if binning is None:
            raise InvalidDataset("binning_required", "expected a binning by time or by count", "/transform/binning")
        if isinstance(binning, TimeBins):
            return np.asarray(time // binning.bin_us, np.int64)
        return np.asarray(self._kept.of(sample) // binning.events, np.int64)

    def _late(self, sample: Index, place: Index, step: Index, steps: int) -> tuple[Index, Index, Index]:
        late = step >= steps
        self.tally.late += int(np.count_nonzero(late))
        if self.transform.binning is not None and self.transform.binning.late == "last_step":
            return sample, place, np.minimum(step, steps - 1)
        early = ~late
        return sample[early], place[early], step[early]

    def _in_range(self, chunk: Chunk, number: Index, name: str, values: Any, size: int) -> None:
        if (values.dtype.kind == "i" and int(values.min()) < 0) or int(values.max()) >= size:
            self._refuse(chunk, number, (values < 0) | (values >= size), name, values, f"0 to {size - 1}")

    def _refuse(
        self, chunk: Chunk, number: Index, wrong: NDArray[np.bool_], name: str, values: Any, expected: str
    ) -> None:
        if wrong.any():
            at = int(np.argmax(wrong))
            detail = f"{self._name(chunk, at)}, event {int(number[at])}: expected a {name} from {expected}, found "
            raise InvalidDataset("event_out_of_range", f"{detail}{int(values[at])}", name)

    def _name(self, chunk: Chunk, at: int) -> str:
        return self.source.name_of(int(chunk.sample[at]))


def _pixel(values: Any, keep: Index | None, start: int, factor: int) -> Index:
    """Coordinates of the kept events after crop and down-sampling, as a new array."""
    wide = (values if keep is None else values[keep]).astype(np.int64)
    if start:
        wide -= start
    if factor > 1:
        wide //= factor
    return np.asarray(wide, np.int64)
