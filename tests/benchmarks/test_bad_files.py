"""The benchmark of bad files has every kind of them, and counts what the child answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from benchmarks import bad_files
from benchmarks.frame import Measured
from engine.network.nodes import NODE_TYPES
from tests.hostile import every


def test_every_kind_is_there() -> None:
    names = [bad.name for bad in every.bad_files()]
    assert len(names) == len(set(names)) > 200
    for kind in set(NODE_TYPES) - {"Input", "Output"}:
        assert {f"{kind}: wrong shape"} <= set(names)
    for words in ("dangling edge", "duplicate edge", "40 levels", "10^9 neurons", "LIF: tau -1", "LIF: v_threshold 0"):
        assert any(words in name for name in names), words


def test_a_file_that_is_refused_otherwise_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *_ = every.bad_files()

    def two() -> Iterator[every.BadFile]:
        yield first
        yield replace(second, codes=("another",))

    monkeypatch.setattr(every, "bad_files", two)
    monkeypatch.setattr(bad_files, "AGAIN", 0)
    found = {one.name: one for one in bad_files.run() if isinstance(one, Measured)}
    assert set(found) == {row.name for row in bad_files.ROWS}
    assert found["bad_files.refused"].value == 0.5
    assert found["bad_files.refused"].detail is not None
    assert found["bad_files.refused"].detail["not refused as expected"] == [second.name]
    assert 0 < found["bad_files.child_cpu"].value < 5
    assert 0 < found["bad_files.child_peak_above_idle"].value < 200
