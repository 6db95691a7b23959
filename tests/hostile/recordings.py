"""Files of events that are damaged or lie, by format: how each is made, and the code and words that must refuse it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from engine.specs.data import SplitRule, TimeBins, Transform
from tests.data.event_files import (
    SENSOR,
    nmnist_members,
    samples,
    shd_bytes,
    write_events,
    write_shd,
    write_zip,
)
from tests.hostile.corpus import Case, archive, declared, npy

BINNING = TimeBins(bin_s=1e-3, steps=4)
TRANSFORMS = {
    "events": Transform(binning=BINNING),
    "nmnist": Transform(binning=BINNING),
    "shd": Transform(binning=BINNING, split=SplitRule(test_fraction=0.3)),
}


def changed(field: str, at: int, value: int, kind: str | None = None) -> Callable[[Path], None]:
    """A good events npz with one value of the training split changed."""

    def build(path: Path) -> None:
        parts = samples()
        values = np.concatenate(parts["train"])[:, ("t", "row", "col", "p").index(field)]
        values = values.astype(kind or ("u4" if field == "t" else "u1"))
        values[at] = value
        write_events(path, parts, **{f"{field}_train": values})

    return build


def events(**changes: Any) -> Callable[[Path], None]:
    return lambda path: write_events(path, **changes)


def zipped(**changes: bytes | None) -> Callable[[Path], None]:
    """A good N-MNIST zip with members changed, added or (None) left out; ``_`` stands for ``/``, ``__`` for a dot."""

    def build(path: Path) -> None:
        members: dict[str, Any] = dict(nmnist_members())
        members |= {name.replace("__", ".").replace("_", "/"): data for name, data in changes.items()}
        write_zip(path, {name: data for name, data in members.items() if data is not None})

    return build


def hdf5(change: Callable[[h5py.File], None] = lambda file: None, **changes: Any) -> Callable[[Path], None]:
    def build(path: Path) -> None:
        write_shd(path, samples()["train"], **changes)
        with h5py.File(path, "r+") as file:
            change(file)

    return build


def _soft(file: h5py.File) -> None:
    del file["spikes/times"]
    file["spikes/times"] = h5py.SoftLink("/labels")


def _external(file: h5py.File) -> None:
    del file["labels"]
    file["labels"] = h5py.ExternalLink("/etc/hostname", "/x")


def _dense(file: h5py.File) -> None:
    del file["spikes/units"]
    file["spikes/units"] = np.zeros((6, 3))


def _many(file: h5py.File) -> None:
    del file["labels"]
    file["labels"] = np.zeros(5, int)


def _cut(build: Callable[[Path], None], share: float) -> Callable[[Path], None]:
    def cut(path: Path) -> None:
        build(path)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return cut


def _falling(path: Path) -> None:
    offsets = np.cumsum([0, *map(len, samples()["train"])])
    offsets[2] = offsets[4]
    write_events(path, offsets_train=offsets)


FIRST = "Train/0/00000.bin"
HUGE = npy(np.zeros(3, np.uint32))

CASES: dict[str, dict[str, Case]] = {
    "events": {
        "row beyond the sensor": (changed("row", 3, SENSOR[0]), "event_out_of_range", "a row from 0 to 5, found 6"),
        "column beyond the sensor": (changed("col", 0, 255), "event_out_of_range", "train sample 0, event 0"),
        "polarity 2": (changed("p", 3, 2), "event_out_of_range", "a polarity from 0 to 1, found 2"),
        "negative time": (changed("t", 0, -5, "i8"), "event_out_of_range", "found -5"),
        "time of 2^63": (changed("t", 4, 2**63, "u8"), "event_out_of_range", "time"),
        "time runs back": (changed("t", 4, 0), "events_out_of_order", "sample 0, event 4: expected a time of at least"),
        "offsets fall": (_falling, "invalid_offsets", "rise from 0"),
        "offsets end early": (events(offsets_train=np.array([0, 3])), "invalid_offsets", "number of events"),
        "offsets of text": (events(offsets_train=np.array(["a", "b"])), "invalid_offsets", "whole numbers"),
        "times are fractions": (changed("t", 0, 0, "f4"), "events_type", "'t_train'"),
        "fewer rows than times": (events(row_train=np.zeros(3, np.uint8)), "events_shape", "'row_train'"),
        "no labels": (events(y_test=None), "missing_array", "y_test"),
        "too few labels": (events(y_train=np.zeros(2, int)), "labels_shape", "(6,), found (2,)"),
        "label beyond classes": (events(classes=np.array(["a"])), "labels_out_of_range", "from 0 to 0"),
        "sensor of three": (events(sensor=np.array([1, 2, 3])), "events_shape", "'sensor'"),
        "cut": (_cut(events(), 0.6), "not_npz", ""),
        "no arrays": (archive([("x.npy", HUGE)]), "missing_array", "offsets_test"),
        "declares 4 TiB": (archive([("t_test.npy", declared("(4398046511104,)"))]), "declared_too_large", "bytes"),
    },
    "nmnist": {
        "cut within an event": (
            zipped(**{"Train_0_00000__bin": b"\1\2\3\0\1\2"}),
            "truncated_recording",
            "whole events of 5 bytes, found 6",
        ),
        "row beyond the sensor": (
            zipped(**{"Train_0_00000__bin": bytes([3, 34, 0, 0, 1])}),
            "event_out_of_range",
            f"recording '{FIRST}', event 0: expected a row from 0 to 33, found 34",
        ),
        "time runs back": (
            zipped(**{"Train_0_00000__bin": bytes([3, 3, 0, 0, 9, 3, 3, 0, 0, 1])}),
            "events_out_of_order",
            "at least 9 µs (events in order of time), found 1",
        ),
        "another kind of file": (zipped(**{"Train_0_notes__txt": b"x"}), "unknown_recording", "'Train/0/notes.txt'"),
        "not in a folder": (zipped(**{"stray__bin": b""}), "unlabelled", "'stray.bin'"),
        "no split for one": (zipped(**{"more_0_a__bin": b""}), "missing_split", "'more/0/a.bin'"),
        "traversal": (lambda p: write_zip(p, {"../0/a.bin": b""}), "not_zip", "'../0/a.bin'"),
        "absolute": (lambda p: write_zip(p, {"/train/0/a.bin": b""}), "not_zip", "'/train/0/a.bin'"),
        "hidden alone": (lambda p: write_zip(p, {"train/0/.a.bin": b""}), "too_few_samples", "none"),
        "nothing in it": (lambda p: write_zip(p, {}), "too_few_samples", "none"),
        "no events at all": (lambda p: write_zip(p, {"test/0/a.bin": b""}), "no_events", "none in any sample"),
        "label of 2^17": (lambda p: write_zip(p, {"test/131072/a.bin": b""}), "labels_out_of_range", "131072"),
        "not a zip": (lambda p: p.write_bytes(b"hello") and None, "not_zip", "zip"),
        "cut": (_cut(zipped(), 0.7), "not_zip", ""),
    },
    "shd": {
        "not HDF5": (lambda p: p.write_bytes(b"hello, world") and None, "not_hdf5", "found the bytes"),
        "cut": (_cut(hdf5(), 0.5), "not_hdf5", "damaged"),
        "no spikes": (hdf5(lambda file: file.move("spikes", "other")), "missing_array", "'/spikes'"),
        "times and units differ": (hdf5(units=[700]), "events_shape", "as many times as units"),
        "symbolic link": (hdf5(_soft), "hdf5_soft_link", "/spikes/times"),
        "external link": (hdf5(_external), "hdf5_external_link", "/labels"),
        "dense array": (hdf5(_dense), "events_type", "'/spikes/units'"),
        "too few labels": (hdf5(_many), "labels_shape", "(6,), found (5,)"),
        "label beyond keys": (hdf5(labels=np.arange(6)), "labels_out_of_range", "from 0 to 1, found 5"),
        "not a number": (hdf5(times=[np.nan], units=[0]), "non_finite_data", "event 0"),
        "negative time": (hdf5(times=[-1.0], units=[0]), "event_out_of_range", "a time from 0"),
        "time runs back": (hdf5(times=[1.0, 0.5], units=[0, 0]), "events_out_of_order", "sample 0, event 1"),
        "unit 700": (hdf5(times=[0.5], units=[700]), "event_out_of_range", "a unit from 0 to 699, found 700"),
        "zip without a split in the name": (
            lambda p: write_zip(p, {"spikes.h5": shd_bytes(samples()["train"])}),
            "missing_split",
            "'spikes.h5'",
        ),
    },
}
