"""Opens a canonical dataset: in memory where it is small, else its samples stay on disk until a batch needs them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.batches import UNLABELLED, Dataset, Origin, Split
from engine.data.canonical_events import count_type
from engine.data.npz import ArrayEntry, open_arrays
from engine.data.rows import BinnedRows, Rows, StoredRows
from engine.data.zip_safe import ZipLimits
from engine.errors import InvalidDataset

IN_MEMORY_BYTES = 1 << 29  # of frames in their compact type; beside it a batch, and what training keeps
Arrays = Mapping[str, ArrayEntry]


def load(path: Path, limits: ZipLimits | None = None, in_memory_bytes: int | None = None) -> Dataset:
    """A canonical dataset.

    Args:
        path: a file that :func:`engine.data.frames.canonicalise_frames` or
            :func:`engine.data.canonical_events.canonicalise_events` wrote.
        limits: bounds on declared bytes; by default none, since the file is the service's own.
        in_memory_bytes: frames of all splits up to this size are held in memory; None: ``IN_MEMORY_BYTES``.

    Raises:
        InvalidDataset: the file is damaged, or not in canonical form (``missing_array``).
    """
    most = IN_MEMORY_BYTES if in_memory_bytes is None else in_memory_bytes
    with path.open("rb") as file:
        arrays = open_arrays(file, limits or ZipLimits(max_bytes=1 << 62))
        meta = json.loads(arrays["meta"].read().tobytes()) if "meta" in arrays else None
        kind = "places" if meta else "x"
        for name in (f"{kind}_test", "y_test", "classes"):
            if name not in arrays:
                raise InvalidDataset("missing_array", f"expected a canonical dataset with the array {name!r}", name)
        names = [n for n in ("train", "val", "test") if f"{kind}_{n}" in arrays]
        rows = {n: _binned(path, arrays, n, meta) if meta else _stored(path, arrays[f"x_{n}"]) for n in names}
        size = sum(prod(r.shape) * r.dtype.itemsize for r in rows.values() if r is not None)
        splits = {}
        for name, row in rows.items():
            x = _held(row, size > most, arrays.get(f"x_{name}"))
            splits[name] = Split(x, _labels(arrays.get(f"y_{name}"), len(x)))
        classes = tuple(str(name) for name in arrays["classes"].read())
    origin = Origin(meta["format"], meta["source"], meta["transform"]) if meta else None
    return Dataset(splits["test"], splits.get("train"), splits.get("val"), classes, origin)


def _labels(entry: ArrayEntry | None, samples: int) -> NDArray[np.int64]:
    return np.full(samples, UNLABELLED) if entry is None else entry.read().astype(np.int64)


def _held(row: Rows | None, stream: bool, packed: ArrayEntry | None) -> NDArray[Any] | Rows:
    """Rows on disk, or what they hold; packed frames can only be read from the front, so they are small."""
    if row is None:
        return np.zeros(0) if packed is None else packed.read()
    return row if stream else row[:]


def _stored(path: Path, entry: ArrayEntry) -> StoredRows | None:
    """Frames that lie uncompressed in the file; None where they are packed."""
    if entry.start is None:
        return None
    return StoredRows(path, entry.start, np.arange(entry.shape[0]), entry.shape[1:], entry.dtype)


def _binned(path: Path, arrays: Arrays, name: str, meta: Mapping[str, Any]) -> BinnedRows:
    places, offsets = arrays[f"places_{name}"], arrays[f"offsets_{name}"].read()
    if places.start is None:
        raise InvalidDataset("missing_array", f"expected the array 'places_{name}' without compression", name)
    most = int(meta["most"][name])
    widest = max(int(value) for value in meta["most"].values())
    return BinnedRows(
        path,
        places.start,
        np.arange(len(offsets) - 1),
        (int(meta["steps"]), *(int(size) for size in meta["sample_shape"])),
        count_type(widest),
        offsets=offsets,
        most=most,
        binary=meta["transform"].get("values") == "binary",
    )
