"""Events as every reader hands them over: chunks of ``(sample, time, row, column, polarity)`` in sample order.

Times are whole microseconds, as event cameras write them. A reader knows labels and splits before it reads an event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

CHUNK_EVENTS = 1 << 17  # a chunk and what is computed from it stay around 10 MB
MAX_EVENTS_PER_SAMPLE = 1 << 24
MAX_SAMPLES = 1 << 22
SPLITS = ("train", "val", "test")
TRAIN, VAL, TEST, OPEN = 0, 1, 2, 255  # OPEN: the file does not say; a split rule must

Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Chunk:
    """Consecutive events; ``sample`` never falls, here and from one chunk to the next.

    ``sample`` ``[event]`` counts over the whole source; ``t_us``, ``row``, ``column``, ``polarity`` ``[event]`` are as
    the file holds them: the binner checks their ranges. ``polarity`` is None where a format has none.
    """

    sample: NDArray[np.int64]
    t_us: Integers
    row: Integers | None
    column: Integers
    polarity: Integers | None

    def __len__(self) -> int:
        return len(self.sample)


@dataclass(frozen=True, eq=False)
class EventSource:
    """An opened upload of events.

    Attributes:
        labels: ``[sample]``, in the order in which ``chunks`` gives the samples.
        split: ``[sample]``, one of ``TRAIN VAL TEST OPEN``.
        chunks: a new pass over all events.
        name_of: what a message calls a sample.
        sensor: (rows, columns), or None where the file does not say.
        has_rows: False for one-dimensional sensors (cochleas): samples are ``[time, unit]``.
        has_polarity: False where events are spikes of one kind.
        classes: names, or None.
        start: what time 0 is where the transform does not say.
    """

    labels: NDArray[np.int64]
    split: NDArray[np.uint8]
    chunks: Callable[[], Iterator[Chunk]]
    name_of: Callable[[int], str]
    sensor: tuple[int, int] | None
    has_rows: bool = True
    has_polarity: bool = True
    classes: tuple[str, ...] | None = None
    start: Literal["file", "first_event"] = "file"


def whole_sample(number: int, t_us: Integers, row: Integers, column: Integers, polarity: Integers) -> Iterator[Chunk]:
    """One sample that is in memory, in chunks.

    Example:
        >>> zeros = np.zeros(3, np.int64)
        >>> [len(chunk) for chunk in whole_sample(0, zeros, zeros, zeros, zeros)]
        [3]
    """
    for start in range(0, len(t_us), CHUNK_EVENTS):
        part = slice(start, start + CHUNK_EVENTS)
        times = t_us[part]
        yield Chunk(np.full(len(times), number, np.int64), times, row[part], column[part], polarity[part])
