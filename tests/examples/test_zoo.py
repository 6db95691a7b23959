"""The zoo's networks, read by the engine, answer sample by sample as the frameworks that trained them did."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from benchmarks.networks import NETWORKS, ZOO, Case
from engine.data.counts import read_counts
from engine.data.load import load
from engine.network.canonical import read_canonical
from engine.network.discretise import discretise
from engine.network.measure import measure
from engine.network.prepare import prepare
from examples.zoo.data import DATASETS, build

MAX_FILE_BYTES = 300_000


def test_names_are_unique_and_the_files_are_small() -> None:
    assert len({case.name for case in NETWORKS}) == len(NETWORKS)
    assert len(ZOO) >= 4
    assert len({case.preset for case in ZOO}) >= 4
    for case in ZOO:
        assert 0 < case.model.stat().st_size <= MAX_FILE_BYTES
        assert (case.model.parent / f"{case.name}.py").exists(), "every network has the script that trained it"


def test_an_unknown_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="known: latency, motion, rates, syllables"):
        build("speech", tmp_path / "x.npz")


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_is_the_same_bytes_twice_and_its_test_split_resolves_a_fifth_of_a_point(
    name: str, tmp_path: Path
) -> None:
    first, second = build(name, tmp_path / "a.npz"), build(name, tmp_path / "b.npz")
    assert hashlib.sha256(first.read_bytes()).digest() == hashlib.sha256(second.read_bytes()).digest()
    data = load(first)
    assert len(data.test) >= 500
    for split in (data.train, data.val, data.test):
        assert split is not None
        assert set(np.unique(split.x)) == {0, 1}
        assert set(np.unique(split.y)) == set(range(len(np.unique(data.test.y))))


@pytest.mark.slow
@pytest.mark.parametrize("case", ZOO, ids=lambda case: case.name)
def test_the_engine_counts_what_the_framework_counted(case: Case, tmp_path: Path) -> None:
    inputs = case.prepare(tmp_path)
    network, data = discretise(read_canonical(inputs.model), case.dynamics), load(inputs.dataset)
    found = measure(prepare(network), data.test).counts
    expected = read_counts(case.model.parent / f"{case.name}.counts.npz", len(data.test), found.shape[1])
    # The frameworks run in float32: a membrane within an ulp of the threshold may fall on the other side.
    assert (found == expected).all(1).mean() >= 0.995
    right = (found.argmax(1) == data.test.y).mean()
    assert 0.90 <= right <= 0.985, "hard enough that rounding shows, good enough to be worth keeping"
