"""The frame: nothing is left out, a missed must ends with 1, the last line is the machine's."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import api, frame
from benchmarks.environment import describe
from benchmarks.frame import Absent, Finding, Measured, Row

ROWS = (
    Row("fast", "ms", "lower", must=50, stretch=10),
    Row("large", "", "higher", must=0.6),
    Row("told", "s", "lower"),
)


def test_rows_are_judged_against_their_bounds() -> None:
    findings = iter([Measured("fast", 20.0, (18.0, 22.0)), Measured("large", 0.5), Measured("told", 9.0)])
    rows = frame.collect(ROWS, findings)
    assert [row["ok"] for row in rows.values()] == [True, False, True]
    assert rows["fast"]["stretch_reached"] is False
    assert rows["fast"]["spread"] == [18.0, 22.0]
    assert frame.exit_status(rows) == 1
    assert "MISSED" in frame.format_table(rows)


def test_an_absent_row_stays_with_its_reason() -> None:
    findings = iter([Measured("fast", 1.0), Absent("large", "no curl"), Measured("told", 1.0)])
    rows = frame.collect(ROWS, findings)
    assert rows["large"]["ok"] is False
    assert rows["large"]["reason"] == "no curl"
    assert frame.exit_status(rows) == 1
    assert "no curl" in frame.format_table(rows)


def test_a_crash_loses_only_the_rows_that_did_not_come(capsys: pytest.CaptureFixture[str]) -> None:
    def findings() -> Iterator[Finding]:
        yield Measured("fast", 1.0)
        raise OSError("disk full")

    rows = frame.collect(ROWS, findings())
    assert rows["fast"]["ok"] is True
    assert "disk full" in rows["large"]["reason"]
    assert "disk full" in capsys.readouterr().err


def test_an_undeclared_row_is_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    rows = frame.collect(ROWS, iter([Measured("other", 1.0)]))
    assert "was not declared" in rows["fast"]["reason"]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> types.ModuleType:
    module = types.ModuleType("fake_benchmark")
    module.ROWS = ROWS[:1]  # type: ignore[attr-defined]
    module.run = lambda: iter([Measured("fast", 7.0, detail={"many": [1, 2]})])  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_benchmark", module)
    monkeypatch.setitem(frame.BENCHMARKS, "fake", "fake_benchmark")
    monkeypatch.setattr(frame, "RESULTS", tmp_path / "benchmarks" / "results")
    return module


def test_the_command_writes_prints_and_ends_with_the_result(
    fake: types.ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["fake"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    rows = json.loads(last.removeprefix("RESULT "))
    assert rows["fast"] == {
        "value": 7.0,
        "unit": "ms",
        "better": "lower",
        "must": 50,
        "stretch": 10,
        "ok": True,
        "spread": None,
        "stretch_reached": True,
    }
    written = json.loads((tmp_path / "benchmarks" / "results" / "fake.json").read_text())
    assert written["rows"]["fast"]["detail"] == {"many": [1, 2]}
    assert {"cpu", "cores", "versions", "commit", "date"} <= set(written["environment"])
    fake.run = lambda: iter([Measured("fast", 70.0)])  # type: ignore[attr-defined]
    assert command.main(["fake", "--no-write"]) == 1


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(KeyError, match="known: api"):
        frame.run_benchmark("nothing")
    with pytest.raises(SystemExit):
        command.main(["nothing"])


def test_the_environment_names_no_place_of_this_machine() -> None:
    assert str(Path.home()) not in json.dumps(describe())


def test_the_rows_of_the_issue_are_declared() -> None:
    bounds = {row.name: row.must for row in api.ROWS}
    assert bounds[api.SUBMIT_IDLE] == 50
    assert bounds[api.UPLOAD] == 0.60
    assert bounds[api.MEMORY] == 64
    assert (bounds[api.COLD], bounds[api.WARM]) == (3.0, 0.3)
