"""A frames file (npz): checked, described, and re-written in the one form that is read later.

Axes of x: ``[sample, time, ...]``. The canonical file holds x in the narrowest type that keeps every value, y as
int64, classes as text; equal content gives equal bytes, whatever the upload's types, order or compression were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.npz import ArrayEntry, Column, open_arrays, write_npz
from engine.data.zip_safe import ZipLimits
from engine.errors import InvalidDataset

SPLITS = ("train", "val", "test")
MAX_CLASSES = 65_536
STORED_ABOVE_BYTES = 1 << 29  # what the engine holds in memory; larger ones are read batch by batch
# Narrowest first: the first that holds every value is used.
_COMPACT = tuple(np.dtype(kind) for kind in ("u1", "i1", "u2", "i2", "u4", "i4", "i8"))


@dataclass(frozen=True)
class Values:
    """What one pass over an x array finds."""

    low: float
    high: float
    whole: bool


@dataclass(frozen=True)
class FramesSummary:
    """Facts about a frames file, for the record and for checks against a model."""

    splits: dict[str, int]
    steps: int
    sample_shape: tuple[int, ...]
    classes: tuple[str, ...]
    value_range: tuple[float, float]
    dtype: str
    max_label: int
    labelled: bool = True

    def as_json(self) -> dict[str, Any]:
        """JSON-ready form; ``only_test``: for ``evaluate`` alone; ``labelled``: all samples have labels."""
        return {
            "splits": self.splits,
            "steps": self.steps,
            "sample_shape": list(self.sample_shape),
            "classes": list(self.classes),
            "value_range": list(self.value_range),
            "dtype": self.dtype,
            "max_label": self.max_label,
            "only_test": not self.splits["train"],
            "labelled": self.labelled,
        }


def canonicalise_frames(
    source: Path, target: Path, limits: ZipLimits | None = None, stored_above_bytes: int = STORED_ABOVE_BYTES
) -> FramesSummary:
    """Check an uploaded frames file and write its canonical form.

    Args:
        source: the upload: ``x_train y_train x_test y_test``, optional ``x_val y_val classes``; or ``x_test y_test``
            alone. x numeric and finite, y whole numbers from 0. ``y_train`` and ``y_val`` may be left out together:
            such samples calibrate. Arrays with other names are left out.
        target: the file to write.
        limits: bounds on members and declared bytes.
        stored_above_bytes: frames above this size are kept uncompressed, so that batches can be read from the disk.

    Returns:
        The summary.

    Raises:
        InvalidDataset: ``not_npz``, ``object_array``, ``declared_too_large``, ``inflated_too_large``,
            ``missing_array``, ``unlabelled``, ``regression_labels``, ``labels_out_of_range``, ``labels_shape``,
            ``sample_shape_mismatch``, ``non_finite_data``, ``too_few_samples``; the message names the array.
    """
    with source.open("rb") as file:
        arrays = open_arrays(file, limits)
        present = _present_splits(arrays)
        steps, sample_shape = _common_shape({name: arrays[f"x_{name}"] for name in present})
        labels = {name: _labels(arrays, name) for name in present if f"y_{name}" in arrays}
        classes = _classes(arrays, labels)
        scans = [_scan(arrays[f"x_{name}"]) for name in present]
        low, high = min(scan.low for scan in scans), max(scan.high for scan in scans)
        dtype = _narrowest(low, high, [arrays[f"x_{name}"].dtype for name in present], all(s.whole for s in scans))
        columns = {f"y_{name}": _column(values) for name, values in labels.items()}
        columns["classes"] = _column(np.array(classes))
        size = 0
        for name in present:
            entry = arrays[f"x_{name}"]
            columns[f"x_{name}"] = Column(dtype, entry.shape, entry.blocks())
            size += entry.header.count * dtype.itemsize
        write_npz(target, columns, stored=size > stored_above_bytes)
    splits = {name: arrays[f"x_{name}"].shape[0] if name in present else 0 for name in SPLITS}
    highest = max(int(values.max()) for values in labels.values())
    return FramesSummary(
        splits, steps, sample_shape, classes, (low, high), dtype.name, highest, set(labels) == set(present)
    )


def digest_file(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _present_splits(arrays: Mapping[str, ArrayEntry]) -> tuple[str, ...]:
    """Splits that are there; the test split always has labels, the others all of them or none."""
    found = ", ".join(sorted(arrays)) or "none"
    if "x_test" not in arrays:
        raise InvalidDataset("missing_array", f"expected the array 'x_test', found {found}", "x_test")
    for name in SPLITS:
        has_x, has_y = f"x_{name}" in arrays, f"y_{name}" in arrays
        if has_x and not has_y and (name == "test" or {"y_train", "y_val"} & set(arrays)):
            detail = (
                f"expected labels 'y_{name}' for 'x_{name}', found {found}; training and validation samples may come "
                "without labels, but both, and test samples need them"
            )
            raise InvalidDataset("unlabelled", detail, f"y_{name}")
        if has_y and not has_x:
            raise InvalidDataset("missing_array", f"expected the array 'x_{name}', found {found}", f"x_{name}")
    if "x_val" in arrays and "x_train" not in arrays:
        raise InvalidDataset("missing_array", f"expected the array 'x_train', found {found}", "x_train")
    return tuple(name for name in SPLITS if f"x_{name}" in arrays)


def _common_shape(entries: Mapping[str, ArrayEntry]) -> tuple[int, tuple[int, ...]]:
    """Steps and sample shape, the same in all splits."""
    first: tuple[int, ...] | None = None
    for name, entry in entries.items():
        label = f"x_{name}"
        if entry.dtype.kind not in "biuf":
            raise InvalidDataset("not_npz", f"array {label!r}: expected numbers, found {entry.dtype}", label)
        if len(entry.shape) < 3:
            detail = f"array {label!r}: expected the axes [sample, time, ...], found shape {entry.shape}"
            raise InvalidDataset("sample_shape_mismatch", detail, label)
        if entry.shape[0] < 1 or 0 in entry.shape:
            detail = f"array {label!r}: expected at least one sample, found shape {entry.shape}"
            raise InvalidDataset("too_few_samples", detail, label)
        first = first or entry.shape[1:]
        if entry.shape[1:] != first:
            detail = f"array {label!r}: expected samples of shape {first} as before, found {entry.shape[1:]}"
            raise InvalidDataset("sample_shape_mismatch", detail, label)
    if first is None:
        raise InvalidDataset("missing_array", "expected at least one split", "x_test")
    return first[0], first[1:]


def _labels(arrays: Mapping[str, ArrayEntry], split: str) -> NDArray[np.int64]:
    name, entry = f"y_{split}", arrays[f"y_{split}"]
    samples = arrays[f"x_{split}"].shape[0]
    if entry.dtype.kind == "f":
        detail = f"array {name!r}: expected whole-number labels, found {entry.dtype}; regression is not supported"
        raise InvalidDataset("regression_labels", detail, name)
    if entry.dtype.kind not in "biu":
        raise InvalidDataset("not_npz", f"array {name!r}: expected whole numbers, found {entry.dtype}", name)
    if entry.shape != (samples,):
        detail = f"array {name!r}: expected one label per sample, shape ({samples},), found {entry.shape}"
        raise InvalidDataset("labels_shape", detail, name)
    values = entry.read()
    for value in (values.min(), values.max()):
        if not 0 <= int(value) < MAX_CLASSES:
            detail = f"array {name!r}: expected labels from 0 to {MAX_CLASSES - 1}, found {int(value)}"
            raise InvalidDataset("labels_out_of_range", detail, name)
    return values.astype(np.int64)


def _classes(arrays: Mapping[str, ArrayEntry], labels: Mapping[str, NDArray[np.int64]]) -> tuple[str, ...]:
    """Names of the classes: the file's, or the numbers from 0."""
    highest = {name: int(values.max()) for name, values in labels.items()}
    if "classes" not in arrays:
        return tuple(str(number) for number in range(max(highest.values()) + 1))
    names = class_names(arrays["classes"])
    for split, value in highest.items():
        if value >= len(names):
            detail = f"array 'y_{split}': expected labels from 0 to {len(names) - 1}, as classes say, found {value}"
            raise InvalidDataset("labels_out_of_range", detail, f"y_{split}")
    return names


def class_names(entry: ArrayEntry) -> tuple[str, ...]:
    """The array ``classes`` as text, without what a terminal would obey.

    Raises:
        InvalidDataset: ``labels_shape``.
    """
    if len(entry.shape) != 1 or not 0 < entry.shape[0] <= MAX_CLASSES or entry.header.total > 1 << 24:
        detail = f"array 'classes': expected 1 to {MAX_CLASSES} names, found shape {entry.shape}"
        raise InvalidDataset("labels_shape", detail, "classes")
    return tuple(class_name(value) for value in entry.read())


def class_name(value: Any) -> str:
    """One class name as printable text of at most 128 marks."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return "".join(mark if mark.isprintable() else "\N{REPLACEMENT CHARACTER}" for mark in text)[:128]


def _scan(entry: ArrayEntry) -> Values:
    """Lowest and highest value, and whether all are whole numbers; refuses what is not finite."""
    low, high, whole, seen = float("inf"), float("-inf"), True, 0
    for block in entry.blocks():
        if block.dtype.kind == "f":
            wrong = ~np.isfinite(block)
            if wrong.any():
                where = np.unravel_index(seen + int(np.argmax(wrong)), entry.shape)
                detail = f"array {entry.name!r}: expected finite numbers, found {block[np.argmax(wrong)]} at "
                raise InvalidDataset("non_finite_data", f"{detail}{tuple(int(i) for i in where)}", entry.name)
            whole = whole and bool((block == np.rint(block)).all())
        low, high, seen = min(low, float(block.min())), max(high, float(block.max())), seen + block.size
    return Values(low, high, whole)


def _narrowest(low: float, high: float, dtypes: Iterable[np.dtype[Any]], whole: bool) -> np.dtype[Any]:
    if whole:
        for dtype in _COMPACT:
            if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max and max(-low, high) < 2**53:
                return dtype
    return np.result_type(*dtypes, np.float32) if not whole else np.dtype(np.float64)


def _column(values: NDArray[Any]) -> Column:
    return Column(values.dtype, values.shape, _once(values))


def _once(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    yield values.reshape(-1)
