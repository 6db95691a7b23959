"""Events of every format: binned as the oracle says, whether in memory or streamed, and equal to what others made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data import binning, events, rows
from engine.data.binning import Numbering
from engine.data.canonicalise import canonicalise
from engine.data.frames import canonicalise_frames, digest_file
from engine.data.load import load
from engine.data.rows import BinnedRows, Rows, StoredRows
from engine.data.zip_safe import ZipLimits
from engine.errors import InvalidDataset
from engine.reference.bin_events import bin_events
from engine.specs.data import CountBins, Crop, SplitRule, TimeBins, Transform
from tests.data.event_files import SENSOR, samples, shd_bytes, write_events, write_nmnist, write_shd, write_zip

MILLISECOND = TimeBins(bin_s=1e-3, steps=4)


def keep(path: Path, kind: str, transform: Transform, **more: Any) -> tuple[Path, dict[str, Any]]:
    out = path.with_name("canonical.npz")
    return out, canonicalise(path, out, kind, transform, None, ZipLimits(**more))


crops = st.builds(
    Crop, top=st.integers(0, 2), left=st.integers(0, 2), height=st.integers(1, 4), width=st.integers(1, 3)
)
transforms = st.builds(
    Transform,
    binning=st.one_of(
        st.builds(
            TimeBins,
            bin_s=st.sampled_from([1e-6, 3.7e-4, 1e-3, 0.5]),
            steps=st.integers(1, 8),
            late=st.sampled_from(["drop", "last_step"]),
        ),
        st.builds(
            CountBins,
            events=st.integers(1, 9),
            steps=st.integers(1, 8),
            late=st.sampled_from(["drop", "last_step"]),
        ),
    ),
    polarity=st.sampled_from(["keep", "merge", "on", "off"]),
    crop=st.one_of(st.none(), crops),
    downsample=st.integers(1, 4),
    values=st.sampled_from(["counts", "binary"]),
    start=st.sampled_from([None, "file", "first_event"]),
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(transforms, st.integers(0, 1000), st.sampled_from([1, 7, 1 << 17]))
def test_frames_are_the_oracles(tmp_path_factory: Any, transform: Transform, seed: int, chunk: int) -> None:
    path = tmp_path_factory.mktemp("events") / "in.npz"
    parts = samples(seed, {"train": 3, "test": 3})
    write_events(path, parts)
    with pytest.MonkeyPatch.context() as patch:  # chunks that end anywhere give the same
        patch.setattr("engine.data.readers.events_npz.CHUNK_EVENTS", chunk)
        patch.setattr(rows, "COUNT_EVENTS", 3)
        out, summary = keep(path, "events", transform)
    steps = transform.binning.steps  # type: ignore[union-attr]
    assert steps is not None
    wanted = {}
    for name, some in parts.items():
        wanted[name] = np.stack([bin_events(e.tolist(), SENSOR, transform, steps) for e in some])
    for bound in (0, 1 << 30):
        data = load(out, in_memory_bytes=bound)
        assert data.streamed == (bound == 0)
        assert data.train is not None
        assert np.array_equal(data.test.x[:], wanted["test"])
        assert np.array_equal(data.train.x[np.array([2, 0])], wanted["train"][[2, 0]])
    assert summary["value_range"][1] == max(1, *(int(x.max()) for x in wanted.values()))
    kept = int(sum(x.sum() for x in wanted.values()))
    assert summary["events"]["kept"] == kept or transform.values == "binary"


def test_steps_and_sensor_are_found_where_nobody_says_them(tmp_path: Path) -> None:
    parts = samples(3)
    write_events(tmp_path / "in.npz", parts, sensor=None)
    _, summary = keep(tmp_path / "in.npz", "events", Transform(binning=TimeBins(bin_s=1e-3)))
    flat = np.concatenate([e for some in parts.values() for e in some])
    assert summary["steps"] == flat[:, 0].max() // 1000 + 1
    assert summary["sensor"] == [int(flat[:, 1].max()) + 1, int(flat[:, 2].max()) + 1]


def test_formats_of_the_same_events_agree(tmp_path: Path) -> None:
    parts = samples(5)
    transform = Transform(binning=MILLISECOND, sensor=SENSOR)
    write_events(tmp_path / "in.npz", parts)
    write_nmnist(tmp_path / "in.zip", parts)
    by_npz = load(keep(tmp_path / "in.npz", "events", transform)[0])
    by_zip = load(keep(tmp_path / "in.zip", "nmnist", transform)[0])
    order = np.argsort(np.arange(4) % 2, kind="stable")  # folders are read in the order of their names
    assert np.array_equal(by_zip.test.x, by_npz.test.x[order])
    assert by_zip.test.y.tolist() == [0, 0, 1, 1]
    spikes = Transform(binning=MILLISECOND, sensor=(1, SENSOR[1]))
    write_zip(tmp_path / "shd.zip", {f"shd_{name}.h5": shd_bytes(some) for name, some in parts.items()})
    by_hdf5 = load(keep(tmp_path / "shd.zip", "shd", spikes)[0])
    assert by_hdf5.classes == ("zero", "one")
    assert np.array_equal(by_hdf5.test.x, by_npz.test.x[:].sum((2, 3)))


def test_one_file_of_spikes_is_split_by_a_seeded_stratified_rule(tmp_path: Path) -> None:
    parts = samples(1, {"test": 40})["test"]
    write_shd(tmp_path / "in.h5", parts)
    with pytest.raises(InvalidDataset, match=r"split\.test_fraction") as caught:
        keep(tmp_path / "in.h5", "shd", Transform(binning=MILLISECOND))
    assert caught.value.code == "missing_split"
    rule = SplitRule(test_fraction=0.25, validation_fraction=0.1, seed=4)
    first, summary = keep(tmp_path / "in.h5", "shd", Transform(binning=MILLISECOND, split=rule))
    assert summary["splits"] == {"train": 26, "val": 4, "test": 10}
    data, digest = load(first), digest_file(first)
    assert data.validation_source == "given"
    assert np.bincount(data.test.y).tolist() == [5, 5]
    keep(tmp_path / "in.h5", "shd", Transform(binning=MILLISECOND, split=rule))
    assert digest_file(first) == digest
    keep(tmp_path / "in.h5", "shd", Transform(binning=MILLISECOND, split=SplitRule(test_fraction=0.25, seed=5)))
    assert digest_file(first) != digest


def test_digest_covers_source_and_transform(tmp_path: Path) -> None:
    write_events(tmp_path / "in.npz")
    transforms = [Transform(binning=MILLISECOND), Transform(binning=MILLISECOND, start="file")]  # the same frames
    digests = [digest_file(keep(tmp_path / "in.npz", "events", transform)[0]) for transform in transforms]
    canonicalise(tmp_path / "in.npz", tmp_path / "canonical.npz", "events", transforms[0], "0" * 64, ZipLimits())
    assert len({*digests, digest_file(tmp_path / "canonical.npz")}) == 3
    origin = load(tmp_path / "canonical.npz").origin
    assert origin is not None
    assert (origin.format, origin.source) == ("events", "0" * 64)
    assert Transform.model_validate(origin.transform) == transforms[0]


def test_large_frames_stay_on_disk(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 5, (9, 4, 3), dtype=np.uint8)
    np.savez(tmp_path / "in.npz", x_train=x, y_train=np.arange(9) % 2, x_test=x[:4], y_test=np.arange(4) % 2)
    canonicalise_frames(tmp_path / "in.npz", tmp_path / "out.npz", stored_above_bytes=10)
    data = load(tmp_path / "out.npz", in_memory_bytes=0).with_validation(0)
    assert data.train is not None
    stored = data.train.x
    assert isinstance(stored, StoredRows)
    whole = load(tmp_path / "out.npz").with_validation(0)
    assert whole.train is not None
    assert isinstance(whole.train.x, np.ndarray)
    assert np.array_equal(stored[:], whole.train.x)
    assert data.train.value_range() == whole.train.value_range()
    assert np.array_equal(data.train.clamped(1, 3).x[:], np.clip(whole.train.x, 1, 3))
    for (streamed, y), (held, z) in zip(data.train.batches(2), whole.train.batches(2), strict=True):
        assert np.array_equal(streamed, held)
        assert np.array_equal(y, z)


def test_rows_refuse_a_file_that_ends_early(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"abc")
    short = StoredRows(tmp_path / "short", 0, np.arange(2), (2, 1), np.dtype(np.uint8))
    with pytest.raises(OSError, match="the file ends after 3"):
        short[:]
    with pytest.raises(NotImplementedError):
        Rows(tmp_path / "short", 0, np.arange(2), (2, 1), np.dtype(np.uint8))[:]


def test_bounds_of_streamed_counts(tmp_path: Path) -> None:
    write_events(tmp_path / "in.npz")
    found = load(keep(tmp_path / "in.npz", "events", Transform(binning=MILLISECOND))[0], in_memory_bytes=0).test.x
    assert isinstance(found, BinnedRows)
    assert found.value_range() == (0, found[:].max())
    assert found.clamped(0, 1).value_range() == (0, 1)
    assert found.take(np.array([1])).shape == (1, *found.sample_shape)


@pytest.mark.parametrize(
    ("transform", "code", "words"),
    [
        (Transform(), "binning_required", "by time or by count"),
        (Transform(binning=MILLISECOND, crop=Crop(top=3, left=0, height=4, width=2)), "invalid_crop", "6 rows"),
        (Transform(binning=TimeBins(bin_s=1e-6, steps=60_000), sensor=(2000, 2000)), "frames_too_large", "down-sample"),
        (
            Transform(binning=MILLISECOND, split=SplitRule(test_fraction=0.2)),
            "transform_not_applicable",
            "4 test samples",
        ),
    ],
)
def test_transforms_that_do_not_fit(tmp_path: Path, transform: Transform, code: str, words: str) -> None:
    write_events(tmp_path / "in.npz")
    with pytest.raises(InvalidDataset, match=words) as caught:
        keep(tmp_path / "in.npz", "events", transform)
    assert caught.value.code == code


def test_transforms_do_not_apply_to_frames_nor_polarity_to_spikes(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="frames already"):
        keep(tmp_path / "in.npz", "frames", Transform(binning=MILLISECOND))
    with pytest.raises(InvalidDataset, match="expected one of frames, events") as caught:
        keep(tmp_path / "in.npz", "other", Transform())
    assert caught.value.code == "unsupported_format"
    write_shd(tmp_path / "in.h5", samples()["train"])
    rule = SplitRule(test_fraction=0.5)
    with pytest.raises(InvalidDataset, match="no polarities"):
        keep(tmp_path / "in.h5", "shd", Transform(binning=MILLISECOND, polarity="on", split=rule))


def test_bins_are_whole_microseconds() -> None:
    assert TimeBins(bin_s=0.0003).bin_us == 300
    for wrong in (1e-7, 1.5e-6, 1 / 3):
        with pytest.raises(ValueError, match="whole number of microseconds"):
            TimeBins(bin_s=wrong)


def test_limits_of_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_events(tmp_path / "in.npz")
    monkeypatch.setattr(binning, "MAX_EVENTS_PER_SAMPLE", 10)
    with pytest.raises(InvalidDataset, match="at most 10 events") as caught:
        keep(tmp_path / "in.npz", "events", Transform(binning=MILLISECOND))
    assert caught.value.code == "sample_too_large"
    monkeypatch.undo()
    monkeypatch.setattr(binning, "MAX_STEPS", 100)
    with pytest.raises(InvalidDataset, match="at most 100 steps") as caught:
        keep(tmp_path / "in.npz", "events", Transform(binning=TimeBins(bin_s=1e-6)))
    assert caught.value.code == "too_many_steps"
    assert events.MAX_EVENTS_PER_SAMPLE < 1 << 32


def test_numbering_goes_on_across_chunks() -> None:
    count = Numbering()
    assert [count.of(np.array(part)).tolist() for part in ([0, 0], [0, 2], [2, 2], [])] == [[0, 1], [2, 0], [1, 2], []]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("frames", "bin_s", "steps", "splits"),
    [("nmnist_small_frames10ms", 0.01, 34, ("train", "test")), ("nmnist_small_test_frames1ms", 0.001, 340, ("test",))],
)
def test_real_events_give_the_real_frames(
    shared_data: Path, tmp_path: Path, frames: str, bin_s: float, steps: int, splits: tuple[str, ...]
) -> None:
    source, out = shared_data / "datasets" / "nmnist_small_events.npz", tmp_path / "out.npz"
    canonicalise(source, out, "events", Transform(binning=TimeBins(bin_s=bin_s, steps=steps)), None, ZipLimits())
    data = load(out, in_memory_bytes=0)
    with np.load(shared_data / "datasets" / f"{frames}.npz", allow_pickle=False) as theirs:
        for name in splits:
            assert np.array_equal(getattr(data, name).x[:], theirs[f"x_{name}"])
            assert np.array_equal(getattr(data, name).y, theirs[f"y_{name}"])
