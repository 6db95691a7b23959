"""Jobs that rows share: kept under what they depend on, and nothing is kept of a checkout with changes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import jobs
from benchmarks.environment import tree_of
from benchmarks.networks import NAMED

DIGITS = next(case for case in NAMED if case.name == "digits")
FIELDS: dict[str, Any] = {"recipe": "lsq", "options": {"finetune": {"epochs": 0, "float_control": False}}}


def state(monkeypatch: pytest.MonkeyPatch, clean: bool, tree: str) -> None:
    monkeypatch.setattr(jobs, "describe", lambda: {"clean": clean, "commit": "irrelevant"})
    monkeypatch.setattr(jobs, "tree_of", lambda folder: f"{folder}-{tree}")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """The seeds that an engine, which does nothing else, was asked for."""
    asked: list[int] = []

    def run(job: Any, inputs: Any, out: Path, events: Any) -> Any:
        asked.append(job.seed)
        for step in job.steps:
            events.log(f"step 1 of 1: {step.kind}")
        return SimpleNamespace(report=None)

    monkeypatch.setattr("engine.run.run", run)
    monkeypatch.setattr(jobs, "_numbers", lambda report, seed: {"seed": seed})
    monkeypatch.setattr(jobs, "CACHE", tmp_path / "kept")
    return asked


def test_what_is_kept_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: list[int]) -> None:
    task = (DIGITS, 5, FIELDS, str(tmp_path))
    state(monkeypatch, clean=False, tree="a")
    first = jobs.run_job(task)
    assert set(first["cpu_seconds_by_step"]) == {"evaluate", "allocate", "finetune", "integerize"}
    assert not (tmp_path / "kept").exists()
    state(monkeypatch, clean=True, tree="a")
    jobs.run_job(task)
    (path,) = (tmp_path / "kept").iterdir()
    path.write_text(json.dumps({"seed": 77}))
    assert jobs.run_job(task) == {"seed": 77}
    assert runs == [5, 5]
    state(monkeypatch, clean=True, tree="b")
    assert jobs.run_job(task)["seed"] == 5
    assert jobs.run_job((DIGITS, 6, FIELDS, str(tmp_path)))["seed"] == 6
    assert runs == [5, 5, 5, 6]


def test_the_tree_of_a_folder() -> None:
    tree = tree_of("engine")
    assert tree is None or len(tree) == 40  # None: no checkout
    assert tree is None or tree != tree_of("runtime")
