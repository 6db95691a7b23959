"""Rows of a long benchmark that another one names: from its record, or from a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import curvature, frame, recorded
from benchmarks.frame import Absent, Finding, Measured, Row

ROWS = (Row("good", "", "higher", must=0.5, stretch=0.9), Row("told", "s", "lower"), Row("gone", "", "higher", must=1))


def findings() -> Iterator[Finding]:
    yield Measured("good", 0.75, (0.5, 1.0), {"long": "table"})
    yield Measured("told", 3.0)
    yield Absent("gone", "no data")


@pytest.fixture
def long_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    module = SimpleNamespace(ROWS=ROWS, run=findings)
    monkeypatch.setattr(frame, "RESULTS", tmp_path)
    monkeypatch.setattr(frame, "BENCHMARKS", {"long": "the.long.one"})
    monkeypatch.setattr(recorded.importlib, "import_module", {"the.long.one": module}.__getitem__)
    return module


def test_bounded_rows_alone_are_named(long_one: SimpleNamespace) -> None:
    assert recorded.rows_of("long") == (
        Row("long.good", "", "higher", must=0.5, stretch=0.9), Row("long.gone", "", "higher", must=1),
    )  # fmt: skip


def test_without_a_record_the_rows_are_absent_and_nothing_runs(long_one: SimpleNamespace) -> None:
    del long_one.run
    found = list(recorded.findings_of("long"))
    assert [finding.name for finding in found] == ["long.gone", "long.good"]
    assert all(isinstance(f, Absent) and "make bench NAME=long" in f.reason for f in found)


def test_a_record_says_when_and_on_which_commit(long_one: SimpleNamespace, tmp_path: Path) -> None:
    rows = frame.collect(ROWS, findings())
    frame.write_result(tmp_path, "long", rows, {"commit": "abc", "clean": True, "date": "2026-01-01", "cpu": "x"})
    del long_one.run
    good, gone = recorded.findings_of("long")
    at = {"commit": "abc", "clean": True, "date": "2026-01-01"}
    assert good == Measured("long.good", 0.75, (0.5, 1.0), {"measured_at": at})
    assert gone == Absent("long.gone", "no data (2026-01-01)")


def test_curvature_names_predictions_and_plans() -> None:
    names = {row.name for row in curvature.ROWS}
    assert {
        "prediction.median_rank_correlation",
        "prediction.within_10x",
        "plans.cnn_sinabs.mixed_minus_uniform",
    } <= names
