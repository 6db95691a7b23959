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


def test_what_is_kept_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "CACHE", tmp_path / "kept")
    task = (DIGITS, 0, FIELDS, str(tmp_path))
    state(monkeypatch, clean=False, tree="a")
    first = jobs.run_job(task)
    assert first["mismatched_spikes"] == 0
    assert first["compared_spikes"] > 0
    assert set(first["cpu_seconds_by_step"]) == {"evaluate", "allocate", "finetune", "integerize"}
    assert sum(first["cpu_seconds_by_step"].values()) <= first["cpu_seconds"] + 0.5
    assert not (tmp_path / "kept").exists()
    monkeypatch.setattr(jobs, "_numbers", lambda report, seed: dict(first))
    monkeypatch.setattr("engine.run.run", lambda *_: SimpleNamespace(report=None))  # the second time costs nothing
    state(monkeypatch, clean=True, tree="a")
    second = jobs.run_job(task)
    (path,) = (tmp_path / "kept").iterdir()
    path.write_text(json.dumps({**second, "seed": 77}))
    assert jobs.run_job(task)["seed"] == 77
    state(monkeypatch, clean=True, tree="b")
    assert jobs.run_job(task)["seed"] == 0
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_the_tree_of_a_folder() -> None:
    tree = tree_of("engine")
    assert tree is None or len(tree) == 40  # None: no checkout
    assert tree is None or tree != tree_of("runtime")
