"""Samples that stay on disk: indexed like an array ``[sample, time, ...]``, of which only the asked rows are read.

Plain reads at offsets and no memory map: pages of a map count as resident, and a dataset may be larger than memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]
COUNT_EVENTS = 1 << 20  # events that are read at once
BLOCK_ROWS_BYTES = 64 << 20  # rows that are read at once where all are looked through


@dataclass(frozen=True, eq=False)
class Rows:
    """What both kinds share: which samples, their shape, and bounds that values are clamped to.

    Attributes:
        path: the canonical file.
        start: offset of the values in it.
        index: numbers of the samples in the file.
        sample_shape: ``[time, ...]``.
        dtype: of the frames.
        bounds: (low, high) that values are clamped to, or None.
        step: what one integer step of analogue values is worth, or None.
    """

    path: Path
    start: int
    index: Index
    sample_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    bounds: tuple[int, int] | None = None
    step: float | None = None

    def __len__(self) -> int:
        return len(self.index)

    @property
    def shape(self) -> tuple[int, ...]:
        """``[sample, time, ...]``."""
        return (len(self.index), *self.sample_shape)

    def __getitem__(self, key: slice | Index) -> NDArray[Any]:
        """Frames ``[sample, time, ...]`` of a slice or of sample numbers."""
        values = self._read(self.index[key])
        if self.step is not None:
            values = np.floor(values.astype(np.float64) / self.step + 0.5).astype(np.int32)
        return values if self.bounds is None else np.clip(values, *self.bounds)

    def take(self, index: Index) -> Rows:
        """The samples at ``index``, still on disk."""
        return replace(self, index=self.index[index])

    def clamped(self, low: int, high: int) -> Rows:
        """The same with values clamped, as a program's input format says."""
        return replace(self, bounds=(low, high))

    def encoded(self, step: float) -> Rows:
        """Analogue values as integers, ``floor(x/step + 1/2)``, when they are read."""
        return replace(self, step=step)

    def blocks(self) -> Iterator[NDArray[Any]]:
        """All samples, some at a time."""
        size = max(1, BLOCK_ROWS_BYTES // max(1, prod(self.sample_shape) * self.dtype.itemsize))
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def value_range(self) -> tuple[float, float]:
        """Lowest and highest value; reads everything."""
        ranges = [(float(block.min()), float(block.max())) for block in self.blocks()]
        return min(low for low, _ in ranges), max(high for _, high in ranges)

    def _read(self, samples: Index) -> NDArray[Any]:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class StoredRows(Rows):
    """Frames that lie uncompressed in the file."""

    def _read(self, samples: Index) -> NDArray[Any]:
        out = np.empty((len(samples), *self.sample_shape), self.dtype)
        with self.path.open("rb", buffering=0) as file:
            for where, first, last in _runs(samples):
                size = prod(self.sample_shape) * self.dtype.itemsize
                _read_into(file.fileno(), self.start + first * size, out[where : where + last - first])
        return out


@dataclass(frozen=True, eq=False, kw_only=True)
class BinnedRows(Rows):
    """Events that lie in the file as places (flat indices into their sample's frames), counted when they are read.

    ``offsets`` ``[sample + 1]``: places of sample k are ``offsets[k]:offsets[k+1]``. ``most``: the highest count.
    """

    offsets: Index
    most: int
    binary: bool

    def value_range(self) -> tuple[float, float]:
        """Counts begin at 0; the highest was found at intake."""
        low, high = (0.0, 1.0 if self.binary else float(self.most))
        return (low, high) if self.bounds is None else tuple(np.clip((low, high), *self.bounds))

    def _read(self, samples: Index) -> NDArray[Any]:
        out = np.zeros((len(samples), *self.sample_shape), self.dtype)
        frames = out.reshape(len(samples), -1)  # [sample, time·...]
        with self.path.open("rb", buffering=0) as file:
            for where, first, last in _runs(samples):
                for number in range(first, last):
                    self._count(file.fileno(), number, frames[where + number - first])
        return out

    def _count(self, handle: int, number: int, row: NDArray[Any]) -> None:
        """Add a sample's events to its zeroed frames ``[time·...]``, some at a time."""
        begin, end = int(self.offsets[number]), int(self.offsets[number + 1])
        for start in range(begin, end, COUNT_EVENTS):
            places = np.empty(min(COUNT_EVENTS, end - start), PLACE)
            _read_into(handle, self.start + start * PLACE.itemsize, places)
            if self.binary:
                row[places] = 1
            else:
                np.add.at(row, places, self.dtype.type(1))


PLACE = np.dtype(np.uint32)


def _runs(samples: Index) -> Iterator[tuple[int, int, int]]:
    """Runs of consecutive samples: (position in ``samples``, first sample, one past the last)."""
    if not len(samples):
        return
    starts = np.append(np.flatnonzero(np.diff(samples, prepend=samples[0] - 2) != 1), len(samples))
    for begin, end in pairwise(starts.tolist()):
        yield begin, int(samples[begin]), int(samples[end - 1]) + 1


def _read_into(handle: int, position: int, out: NDArray[Any]) -> None:
    """Fill an array from the file.

    Raises:
        OSError: the file ends before.
    """
    view = out.reshape(-1).view(np.uint8).data
    done = 0
    while done < len(view):
        got = os.preadv(handle, [view[done:]], position + done)
        if not got:
            raise OSError(f"expected {len(view)} bytes at {position}, the file ends after {done}")
        done += got
