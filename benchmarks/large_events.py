"""Writes an events npz of any size: random recordings of a 128×128 camera, streamed to the disk, equal for a seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.npz import Column, write_npz

SENSOR = 128
DURATION_US = 400_000
EVENT_BYTES = 7  # time 4, polarity, row and column 1 each
PATTERNS = 8  # samples that are drawn; the others are these, shifted in space


def write_large_events(path: Path, samples: int, events: int, classes: int = 11, seed: int = 0) -> int:
    """Write test samples of equally many events, uncompressed.

    Args:
        path: the file to write.
        samples: how many.
        events: in each.
        classes: labels are 0 to this.
        seed: of everything.

    Returns:
        The file's size in bytes.
    """
    draw = np.random.default_rng(seed)
    times = [np.sort(draw.integers(0, DURATION_US, events, dtype=np.uint32)) for _ in range(PATTERNS)]
    pixels = [[draw.integers(0, SENSOR, events, dtype=np.uint8) for _ in range(2)] for _ in range(PATTERNS)]
    signs = [draw.integers(0, 2, events, dtype=np.uint8) for _ in range(PATTERNS)]

    def column(kind: Any, values: Any) -> Column:
        def blocks() -> Iterator[NDArray[Any]]:
            for sample in range(samples):
                yield values(sample)

        return Column(np.dtype(kind), (samples * events,), blocks())

    def pixel(axis: int) -> Any:
        return lambda k: ((pixels[k % PATTERNS][axis] + np.uint8(k % SENSOR)) % np.uint8(SENSOR)).astype(np.uint8)

    def plain(values: NDArray[Any]) -> Column:
        return Column(values.dtype, values.shape, iter([values.reshape(-1)]))

    columns = {
        "t_test": column("u4", lambda k: times[k % PATTERNS]),
        "p_test": column("u1", lambda k: signs[k % PATTERNS]),
        "row_test": column("u1", pixel(0)),
        "col_test": column("u1", pixel(1)),
        "offsets_test": plain(np.arange(samples + 1, dtype=np.int64) * events),
        "y_test": plain(np.arange(samples, dtype=np.int64) % classes),
        "sensor": plain(np.array([SENSOR, SENSOR])),
    }
    write_npz(path, columns, stored=True)
    return path.stat().st_size
