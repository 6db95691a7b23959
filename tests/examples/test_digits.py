"""The demo's data are the same bytes every time, and its network is as good as the README's commands say."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from examples.digits import check, data

NIR = Path(data.__file__).resolve().parent / "digits.nir"


def test_the_file_is_built_byte_for_byte_the_same(tmp_path: Path) -> None:
    first = data.build(tmp_path / "a.npz").read_bytes()
    second = data.build(tmp_path / "b.npz").read_bytes()
    assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()


def test_the_splits_are_stratified_and_disjoint() -> None:
    frames = data.arrays()
    assert frames["x_train"].shape[1:] == frames["x_test"].shape[1:] == (data.STEPS, 64)
    assert len(frames["x_train"]) + len(frames["x_test"]) == 1797
    assert len(frames["x_test"]) >= 400
    shares = np.bincount(frames["y_test"].astype(np.int64)) / np.bincount(
        np.concatenate([frames["y_train"], frames["y_test"]]).astype(np.int64)
    )
    np.testing.assert_allclose(shares, data.TEST_SHARE, atol=0.005)
    assert set(np.unique(frames["x_test"])) == {0, 1}


def test_the_shipped_network_reaches_its_accuracy() -> None:
    frames = data.arrays()
    x, y = frames["x_test"].astype(np.uint8), frames["y_test"].astype(np.int64)
    assert check.correct_samples(NIR, x, y) / len(y) >= 0.96
