"""Splits and batches."""

from __future__ import annotations

import numpy as np
import pytest

from engine.data.batches import Dataset, Split, stratified_validation
from engine.errors import InvalidDataset


def split(samples: int) -> Split:
    return Split(np.arange(samples * 6, dtype=np.uint8).reshape(samples, 3, 2), np.arange(samples) % 3)


def test_batches_put_time_first() -> None:
    got = list(split(5).batches(2, order=np.array([4, 0, 2])))
    assert [x.shape for x, _ in got] == [(3, 2, 2), (3, 1, 2)]
    assert got[0][0].dtype == np.uint8
    assert np.array_equal(got[0][0][:, 1], split(5).x[0])
    assert got[1][1].tolist() == [2]
    with pytest.raises(ValueError, match="at least one sample, got 0"):
        next(split(5).batches(0))


def test_validation_is_stratified_disjoint_and_seeded() -> None:
    y = np.repeat([0, 1, 2], [40, 20, 3])
    kept, held = stratified_validation(y, 0.15, seed=3)
    assert np.bincount(y[held]).tolist() == [6, 3, 1]
    assert sorted([*kept, *held]) == list(range(63))
    assert np.array_equal(held, stratified_validation(y, 0.15, seed=3)[1])
    assert not np.array_equal(held, stratified_validation(y, 0.15, seed=4)[1])


def test_single_samples_are_not_held_out() -> None:
    with pytest.raises(InvalidDataset, match="two training samples"):
        stratified_validation(np.arange(5))
    with pytest.raises(ValueError, match="between 0 and 1"):
        stratified_validation(np.zeros(9, np.int64), 1.0)


def test_with_validation_takes_from_train() -> None:
    dataset = Dataset(split(4), split(30), None, ("a", "b", "c"))
    assert dataset.validation_source == "stratified from train"
    made = dataset.with_validation(seed=0)
    assert made.train is not None
    assert made.val is not None
    assert (len(made.train), len(made.val)) == (24, 6)
    assert made.with_validation(seed=9) is made
    assert (dataset.steps, dataset.sample_shape, dataset.whole_numbers) == (3, (2,), True)
