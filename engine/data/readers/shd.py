"""Heidelberg digits (SHD, SSC): HDF5 with ``spikes/times``, ``spikes/units`` and ``labels``; or a zip of such files.

Source: Cramer et al. 2020, "The Heidelberg spiking datasets for the systematic evaluation of spiking neural networks".
``times`` and ``units`` hold one array of any length a sample: seconds as floats, and channels from 0 to 699. Optional
``extra/keys`` names the classes. Times are rounded to whole microseconds. One file has one split, which a split rule
divides; a zip holds files whose names say ``train``, ``test`` or ``valid``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from engine.data.events import (
    CHUNK_EVENTS,
    MAX_EVENTS_PER_SAMPLE,
    MAX_SAMPLES,
    OPEN,
    TEST,
    TRAIN,
    VAL,
    Chunk,
    EventSource,
)
from engine.data.frames import class_name
from engine.data.readers.labels import check_labels
from engine.data.zip_safe import ZipLimits, inflate, list_members
from engine.errors import EngineError, InvalidDataset
from engine.network.hdf5_safe import SIGNATURE, check_link, check_storage

UNITS = 700
_SUFFIXES = (".h5", ".hdf5")
_MAX_FILES = 64  # three, with what an operating system adds
_SPLITS = (("train", TRAIN), ("valid", VAL), ("test", TEST))


@dataclass(frozen=True, eq=False)
class _Part:
    """One file: its datasets, labels and split."""

    name: str
    times: h5py.Dataset
    units: h5py.Dataset
    labels: NDArray[np.int64]
    classes: tuple[str, ...] | None
    split: int


@contextmanager
def open_shd(path: Path, limits: ZipLimits) -> Iterator[EventSource]:
    """Open one HDF5 file, or a zip of up to three.

    Raises:
        InvalidDataset: ``not_hdf5``, ``not_zip``, ``missing_array``, ``events_type``, ``events_shape``,
            ``missing_split``, ``declared_too_large``, what labels and the HDF5 checks refuse; while events are read
            also ``non_finite_data`` and ``sample_too_large``.
    """
    with ExitStack() as stack:
        try:
            parts = [_open_part(stack, name, file, split) for name, file, split in _files(stack, path, limits)]
        except EngineError as error:
            raise InvalidDataset(error.code, error.detail, error.pointer) from error
        except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, AttributeError) as error:
            raise InvalidDataset("not_hdf5", f"the HDF5 file is damaged: {str(error)[:200]}", None) from error
        starts = np.cumsum([0, *(len(part.labels) for part in parts)]).tolist()

        def chunks() -> Iterator[Chunk]:
            read = 0
            for part, first in zip(parts, starts, strict=False):
                for number in range(len(part.labels)):
                    chunk = _sample(part, number, first + number)
                    read += len(chunk)
                    if read * 8 > limits.max_bytes:  # several samples may share a place
                        detail = f"expected samples of at most {limits.max_bytes} bytes, found {read} events so far"
                        raise InvalidDataset("declared_too_large", detail, part.name)
                    yield from _pieces(chunk)

        def name_of(sample: int) -> str:
            at = int(np.searchsorted(starts, sample, "right")) - 1
            return f"{parts[at].name} sample {sample - starts[at]}"

        yield EventSource(
            labels=np.concatenate([part.labels for part in parts]),
            split=np.concatenate([np.full(len(part.labels), part.split, np.uint8) for part in parts]),
            chunks=chunks,
            name_of=name_of,
            sensor=(1, UNITS),
            has_rows=False,
            has_polarity=False,
            classes=next((part.classes for part in parts if part.classes is not None), None),
        )


def _files(stack: ExitStack, path: Path, limits: ZipLimits) -> Iterator[tuple[str, Path, int]]:
    """Name, place and split of every HDF5 file."""
    file = stack.enter_context(path.open("rb"))
    head = file.read(8)
    if head == SIGNATURE:
        yield "file", path, OPEN
        return
    if head[:2] != b"PK":
        detail = f"expected an HDF5 file, or a zip of some, found the bytes {head!r}"
        raise InvalidDataset("not_hdf5", detail, None)
    try:
        members = list_members(file, ZipLimits(_MAX_FILES, limits.max_bytes, paths=True))
    except InvalidDataset as error:
        raise InvalidDataset("not_zip" if error.code == "not_npz" else error.code, error.detail) from error
    seen: dict[int, str] = {}
    for member in members.values():
        if not member.name.lower().endswith(_SUFFIXES):
            detail = f"member {member.name!r}: expected a file that ends in .h5 or .hdf5, found another kind of file"
            raise InvalidDataset("not_hdf5", detail, member.name)
        code = next((code for word, code in _SPLITS if word in member.name.lower()), OPEN)
        if code == OPEN or code in seen:
            found = f"{member.name!r}" if code == OPEN else f"{member.name!r} beside {seen[code]!r}"
            detail = f"expected one file each with train, valid or test in its name, found {found}"
            raise InvalidDataset("missing_split", detail, member.name)
        seen[code] = member.name
        copy = stack.enter_context(tempfile.NamedTemporaryFile(suffix=".h5"))  # noqa: SIM115 (the stack closes it)
        for data in inflate(file, member):
            copy.write(data)
        copy.flush()
        yield member.name, Path(copy.name), code


def _open_part(stack: ExitStack, name: str, path: Path, split: int) -> _Part:
    with path.open("rb") as stream:
        head = stream.read(8)
    if head != SIGNATURE:
        raise InvalidDataset("not_hdf5", f"{name}: expected an HDF5 file, found the bytes {head!r}", name)
    file = stack.enter_context(h5py.File(path, "r", locking=False))
    spikes = _inner(file, "spikes", "", h5py.Group)
    times, units = (_ragged(spikes, field, kinds) for field, kinds in (("times", "f"), ("units", "iu")))
    label = _inner(file, "labels", "", h5py.Dataset)
    if times.shape != units.shape or not 1 <= times.shape[0] <= MAX_SAMPLES:
        detail = f"expected one array of times and one of units a sample, found {times.shape} and {units.shape}"
        raise InvalidDataset("events_shape", f"{name}: {detail}", "/spikes")
    check_storage(label, "/labels")
    if label.shape != times.shape:
        detail = f"array '/labels': expected one label per sample, shape {times.shape}, found {label.shape}"
        raise InvalidDataset("labels_shape", detail, "/labels")
    classes = _classes(file)
    found = check_labels("/labels", np.asarray(label[()]), times.shape[0], None if classes is None else len(classes))
    return _Part(name, times, units, found, classes, split)


def _inner(group: h5py.Group, name: str, path: str, kind: type) -> Any:
    where = f"{path}/{name}"
    if name not in group:
        found = ", ".join(sorted(str(key) for key in list(group)[:16])) or "nothing"
        raise InvalidDataset("missing_array", f"expected {where!r} as in the Heidelberg digits, found {found}", where)
    check_link(group, name, where)
    item = group[name]
    if not isinstance(item, kind):
        raise InvalidDataset("missing_array", f"expected {where!r} to be a {kind.__name__.lower()}", where)
    return item


def _ragged(group: h5py.Group, name: str, kinds: str) -> h5py.Dataset:
    """A dataset of arrays of any length."""
    item = _inner(group, name, "/spikes", h5py.Dataset)
    check_storage(item, f"/spikes/{name}")
    inner = h5py.check_vlen_dtype(item.dtype)
    if inner is None or np.dtype(inner).kind not in kinds or item.ndim != 1:
        wanted = "floating-point seconds" if kinds == "f" else "whole numbers"
        found = f"{item.dtype if inner is None else inner} of shape {item.shape}"
        detail = f"'/spikes/{name}': expected one array of {wanted} a sample, found {found}"
        raise InvalidDataset("events_type", detail, f"/spikes/{name}")
    return item


def _classes(file: h5py.File) -> tuple[str, ...] | None:
    """Names from ``extra/keys`` where that is there."""
    if "extra" not in file:
        return None
    extra = _inner(file, "extra", "", h5py.Group)
    if "keys" not in extra:
        return None
    keys = _inner(extra, "keys", "/extra", h5py.Dataset)
    check_storage(keys, "/extra/keys")
    text = keys.dtype.kind in "SU" or h5py.check_string_dtype(keys.dtype) is not None
    if not text or keys.ndim != 1 or not 1 <= keys.shape[0] <= 4096:
        detail = f"'/extra/keys': expected 1 to 4096 names of classes, found {keys.dtype} of shape {keys.shape}"
        raise InvalidDataset("labels_shape", detail, "/extra/keys")
    return tuple(class_name(value) for value in keys[()])


def _sample(part: _Part, number: int, sample: int) -> Chunk:
    try:
        times, units = np.asarray(part.times[number]), np.asarray(part.units[number])
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        detail = f"{part.name} sample {number}: the HDF5 file is damaged: {str(error)[:200]}"
        raise InvalidDataset("not_hdf5", detail, part.name) from error
    if times.shape != units.shape or times.ndim != 1:
        detail = f"{part.name} sample {number}: expected as many times as units, found {times.shape} and {units.shape}"
        raise InvalidDataset("events_shape", detail, part.name)
    if len(times) > MAX_EVENTS_PER_SAMPLE:
        detail = f"{part.name} sample {number}: expected at most {MAX_EVENTS_PER_SAMPLE} events, found {len(times)}"
        raise InvalidDataset("sample_too_large", detail, part.name)
    seconds = times.astype(np.float64)
    wrong = ~(np.abs(seconds) < 1e9)
    if wrong.any():
        at = int(np.argmax(wrong))
        detail = f"{part.name} sample {number}, event {at}: expected a finite time in seconds, found {seconds[at]}"
        raise InvalidDataset("non_finite_data", detail, part.name)
    return Chunk(np.full(len(times), sample, np.int64), np.rint(seconds * 1e6).astype(np.int64), None, units, None)


def _pieces(chunk: Chunk) -> Iterator[Chunk]:
    for start in range(0, len(chunk), CHUNK_EVENTS):
        part = slice(start, start + CHUNK_EVENTS)
        yield Chunk(chunk.sample[part], chunk.t_us[part], None, chunk.column[part], None)
