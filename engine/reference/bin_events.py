"""Frames of one sample's events, an event at a time: the oracle of :mod:`engine.data.binning`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.specs.data import TimeBins, Transform

Event = tuple[int, int, int, int]


def bin_events(events: Iterable[Event], sensor: tuple[int, int], transform: Transform, steps: int) -> NDArray[np.int64]:
    """Event counts ``[time, polarity, row, column]``.

    Args:
        events: (time in µs, row, column, polarity), in order of time and within the sensor.
        sensor: rows and columns.
        transform: its binning must be given.
        steps: of the frames.
    """
    crop, factor = transform.crop, transform.downsample
    top, left = (0, 0) if crop is None else (crop.top, crop.left)
    height, width = sensor if crop is None else (crop.height, crop.width)
    channels = 2 if transform.polarity == "keep" else 1
    frames: NDArray[Any] = np.zeros((steps, channels, -(-height // factor), -(-width // factor)), np.int64)
    number, first = 0, None
    for time, row, column, polarity in events:
        first = time if first is None else first
        if not (top <= row < top + height and left <= column < left + width):
            continue
        if (transform.polarity, polarity) in (("on", 0), ("off", 1)):
            continue
        since = time - first if transform.start == "first_event" else time
        binning = transform.binning
        if binning is None:
            raise ValueError("expected a binning, found none")
        step = since // binning.bin_us if isinstance(binning, TimeBins) else number // binning.events
        number += 1
        if step >= steps and binning.late == "drop":
            continue
        place = (
            min(step, steps - 1),
            polarity if channels == 2 else 0,
            (row - top) // factor,
            (column - left) // factor,
        )
        frames[place] += 1
    return np.minimum(frames, 1) if transform.values == "binary" else frames
