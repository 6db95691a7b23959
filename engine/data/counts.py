"""Expected output spike counts: what the framework that wrote a network counted on the test split (DESIGN 4.5)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.data.npz import Column, open_arrays, write_npz
from engine.data.zip_safe import ZipLimits
from engine.errors import InvalidDataset

MAX_BYTES = 1 << 28
Counts = NDArray[np.int64]


def read_counts(path: Path, samples: int | None = None, outputs: int | None = None) -> Counts:
    """The array ``counts`` ``[sample, output]``, in the order of ``x_test``.

    Args:
        path: an npz file.
        samples: how many rows there must be; None: any.
        outputs: how many columns there must be; None: any.

    Raises:
        InvalidDataset: ``missing_array``, ``counts_shape``, ``counts_type`` or what the npz reader refuses.
    """
    with path.open("rb") as file:
        try:
            arrays = open_arrays(file, ZipLimits(max_bytes=MAX_BYTES))
        except InvalidDataset as error:
            raise InvalidDataset(error.code, f"expected counts: {error.detail}", error.pointer) from error
        if "counts" not in arrays:
            found = ", ".join(sorted(arrays)) or "none"
            detail = f"expected counts: expected the array 'counts', found {found}"
            raise InvalidDataset("missing_array", detail, "counts")
        entry = arrays["counts"]
        if entry.dtype.kind not in "iu":
            detail = f"array 'counts': expected whole numbers, found {entry.dtype}"
            raise InvalidDataset("counts_type", detail, "counts")
        shape = entry.shape
        fits = len(shape) == 2 and samples in (None, shape[0]) and outputs in (None, shape[1])
        if not fits:
            wanted = f"({'samples' if samples is None else samples}, {'outputs' if outputs is None else outputs})"
            detail = f"array 'counts': expected shape {wanted}, found {shape}"
            raise InvalidDataset("counts_shape", detail, "counts")
        return entry.read().astype(np.int64)


def write_counts(path: Path, counts: Counts) -> None:
    """Write counts ``[sample, output]`` so that equal counts give equal bytes."""
    write_npz(path, {"counts": Column(counts.dtype, counts.shape, iter([np.ascontiguousarray(counts).reshape(-1)]))})
