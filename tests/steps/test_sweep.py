"""``sweep`` on the small network: points, choice, refusals, and the same numbers after an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.errors import EngineError
from engine.run import Inputs
from engine.specs.dynamics import PRESETS
from engine.specs.job import ContradictoryJob, JobRequest, resolve_job
from tests.steps.small_job import Listener, go, section, write_inputs

OPTIONS: dict[str, Any] = {"sweep": {"mean_weight_bits": [1.5, 3, 5], "within_points": 5}}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


def test_points_choice_and_resume(inputs: Inputs, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    listener = Listener(tmp_path / "checkpoints")
    outcome = go(inputs, tmp_path / "a", listener, recipe="sweep", options=OPTIONS)
    found = section(outcome, "sweep")
    assert [point.name for point in found.points] == ["ptq at 3 bits", "ptq at 5 bits"]
    assert list(found.infeasible) == ["ptq at 1.5 bits"]
    assert found.points[0].program_bytes < found.points[1].program_bytes
    program = section(outcome, "integerize")
    chosen = next(point for point in found.points if point.name == found.chosen)
    assert program.program_bytes == chosen.program_bytes
    assert program.mismatched_spikes == 0
    assert not found.decidable  # one of 12 validation samples is worth 8.3 points
    assert "cannot decide a bound of 5 points" in (tmp_path / "a" / "report.md").read_text()
    assert outcome.report.comparison is not None
    again = go(inputs, tmp_path / "b", resume=listener.checkpoints[1], recipe="sweep", options=OPTIONS)
    assert section(again, "integerize").program_digest == program.program_digest
    assert section(again, "sweep").points == found.points
    assert section(again, "sweep").resumed
    assert [s.kind for s in outcome.report.sections][:2] == ["evaluate", "sensitivity"]  # asked twice, found once
    assert [s.kind for s in again.report.sections] == [s.kind for s in outcome.report.sections]
    assert section(again, "sensitivity") == section(outcome, "sensitivity")


def test_what_cannot_be_swept_is_refused(inputs: Inputs, tmp_path: Path) -> None:
    for recipe, said in (("evaluate", "'evaluate' has none"), ("no-such", "unknown recipe 'no-such'")):
        with pytest.raises(ContradictoryJob, match=said):
            resolve_job(
                JobRequest(model="m", dataset="d", recipe="sweep", options={"sweep": {"recipes": [recipe]}}),
                PRESETS["nir-paper"],
            )
    with pytest.raises(EngineError, match="least") as caught:
        go(inputs, tmp_path, recipe="sweep", options={"sweep": {"mean_weight_bits": [1.0]}})
    assert caught.value.code == "budget_infeasible"
