"""Frames files: what is accepted, how it is kept, and that equal content gives equal bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as any_array

from engine.data.counts import read_counts, write_counts
from engine.data.frames import canonicalise_frames, digest_file
from engine.data.load import load
from engine.data.npz import open_arrays
from engine.data.zip_safe import ZipLimits
from engine.errors import InvalidDataset
from tests.hostile.corpus import arrays, npz


def keep(tmp_path: Path, save: Any = np.savez_compressed, **changes: Any) -> tuple[Path, Any]:
    with (tmp_path / "in.npz").open("wb") as file:
        save(file, **arrays(**changes))
    return tmp_path / "out.npz", canonicalise_frames(tmp_path / "in.npz", tmp_path / "out.npz")


def test_summary(tmp_path: Path) -> None:
    _, summary = keep(tmp_path, classes=np.array(["off", "on"]))
    assert summary.as_json() == {
        "splits": {"train": 8, "val": 0, "test": 4},
        "steps": 4,
        "sample_shape": [3],
        "classes": ["off", "on"],
        "value_range": [0.0, 1.0],
        "dtype": "uint8",
        "max_label": 1,
        "only_test": False,
        "labelled": True,
    }


def test_samples_without_labels_are_kept_and_flagged(tmp_path: Path) -> None:
    out, summary = keep(tmp_path, y_train=None)
    assert summary.as_json()["labelled"] is False
    assert summary.splits == {"train": 8, "val": 0, "test": 4}
    dataset = load(out)
    assert not dataset.labelled
    held = dataset.with_validation(0)
    assert held.train is not None
    assert held.val is not None
    assert (len(held.train), len(held.val)) == (7, 1)
    assert dataset.test.labelled


def test_test_split_alone_is_flagged(tmp_path: Path) -> None:
    out, summary = keep(tmp_path, x_train=None, y_train=None)
    assert summary.as_json()["only_test"]
    dataset = load(out)
    assert (dataset.train, dataset.validation_source) == (None, "none")
    with pytest.raises(InvalidDataset, match="test split alone"):
        dataset.with_validation(0)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["uint8", "bool", "<i8", ">i4", "float32", ">f8", "float16"])
def test_equal_values_are_equal_bytes(tmp_path: Path, save: Any, dtype: str) -> None:
    x = (np.arange(96).reshape(8, 4, 3) % 2).astype(dtype)
    out, summary = keep(tmp_path, save, x_train=np.asfortranarray(x), y_train=np.arange(8, dtype=np.uint8) % 2)
    digest = digest_file(out)
    assert summary.dtype == "uint8"
    assert np.array_equal(load(out).train.x, x)  # type: ignore[union-attr]
    keep(tmp_path, x_train=x.astype(np.uint8))
    assert digest_file(out) == digest


def test_fractions_stay_floats(tmp_path: Path) -> None:
    out, summary = keep(tmp_path, x_test=np.full((4, 4, 3), 0.5, np.float32))
    assert summary.dtype == "float32"
    assert not load(out).whole_numbers
    assert float(load(out).test.x[0, 0, 0]) == 0.5


def test_extra_arrays_are_left_out_and_canonical_is_stable(tmp_path: Path) -> None:
    out, _ = keep(tmp_path, notes=np.array("hello"), x_val=np.zeros((2, 4, 3)), y_val=np.arange(2))
    canonicalise_frames(out, tmp_path / "again.npz")
    assert digest_file(out) == digest_file(tmp_path / "again.npz")
    with np.load(out, allow_pickle=False) as found:
        assert sorted(found) == ["classes", "x_test", "x_train", "x_val", "y_test", "y_train", "y_val"]
    assert load(out).validation_source == "given"


def test_limit_on_declared_bytes(tmp_path: Path) -> None:
    npz()(tmp_path / "in.npz")
    with pytest.raises(InvalidDataset, match=r"declare .* bytes, expected at most 500") as caught:
        canonicalise_frames(tmp_path / "in.npz", tmp_path / "out.npz", ZipLimits(max_bytes=500))
    assert caught.value.code == "declared_too_large"


@st.composite
def numbers(draw: st.DrawFn) -> Any:
    kind = draw(st.sampled_from(["u1", "i2", "<f4", ">f8", "?"]))
    shape = draw(st.tuples(*[st.integers(0, 4)] * 3))
    return draw(any_array(np.dtype(kind), shape, elements={"allow_nan": False} if "f" in kind else None))


@settings(max_examples=30, deadline=None)
@given(numbers(), st.booleans(), st.booleans())
def test_any_array_is_read_as_numpy_reads_it(values: Any, fortran: bool, packed: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npz"
        (np.savez_compressed if packed else np.savez)(path, x=np.asfortranarray(values) if fortran else values)
        with path.open("rb") as file:
            entry = open_arrays(file)["x"]
            assert np.array_equal(entry.read(), values)
            blocks = [block.copy() for block in entry.blocks()]
        flat = np.concatenate(blocks) if blocks else np.zeros(0)
        assert np.array_equal(flat, values.reshape(-1))


def test_large_array_streams_in_blocks(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2, (3, 1 << 20), dtype=np.uint8)
    values[1] = 0
    np.savez_compressed(tmp_path / "x.npz", x=values)
    with (tmp_path / "x.npz").open("rb") as file:
        assert np.array_equal(np.concatenate(list(open_arrays(file)["x"].blocks())), values.reshape(-1))


def test_counts(tmp_path: Path) -> None:
    counts = np.arange(6).reshape(3, 2)
    write_counts(tmp_path / "c.npz", counts)
    assert np.array_equal(read_counts(tmp_path / "c.npz", samples=3, outputs=2), counts)
    for wanted in ({"samples": 4}, {"outputs": 7}):
        with pytest.raises(InvalidDataset, match=r"found \(3, 2\)"):
            read_counts(tmp_path / "c.npz", **wanted)
    np.savez(tmp_path / "f.npz", counts=counts * 0.5)
    with pytest.raises(InvalidDataset, match="whole numbers, found float64"):
        read_counts(tmp_path / "f.npz")
    np.savez(tmp_path / "m.npz", other=counts)
    with pytest.raises(InvalidDataset, match="expected the array 'counts', found other"):
        read_counts(tmp_path / "m.npz")


@pytest.mark.shared
def test_real_data(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "datasets" / "braille7.npz"
    summary = canonicalise_frames(source, tmp_path / "out.npz")
    assert summary.splits == {"train": 934, "val": 0, "test": 224}
    assert (summary.steps, summary.sample_shape, len(summary.classes)) == (256, (12,), 7)
    with np.load(source, allow_pickle=False) as theirs:
        assert np.array_equal(load(tmp_path / "out.npz").test.x, theirs["x_test"])
