"""Pairs of the plans benchmark: what is compared, what is kept, and what the rows say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import plans
from benchmarks.frame import Absent, Measured, collect
from benchmarks.networks import NAMED, Case
from engine.network.canonical import read_canonical
from engine.network.discretise import discretise
from engine.program.sizes import payload_bytes
from engine.run import Inputs

DIGITS = next(case for case in NAMED if case.name == "digits")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, Inputs, Path]:
    folder = tmp_path_factory.mktemp("plans")
    return DIGITS, DIGITS.prepare(folder / DIGITS.name), folder


def record(seed: int, side: str, accuracy: float) -> dict[str, Any]:
    return {"seed": seed, "side": side, "accuracy": accuracy}


def test_the_mean_of_the_pairs_with_students_interval() -> None:
    # differences of 1, 2 and 3 points: mean 2, standard deviation 1, half width 4.303 / sqrt(3)
    runs = [record(s, "uniform", 0.9) for s in range(3)] + [record(s, "mixed", 0.91 + s / 100) for s in range(3)]
    found = {finding.name: finding for finding in plans.summarise({"digits": runs})}
    row = found["digits.mixed_minus_uniform"]
    assert isinstance(row, Measured)
    assert row.value == pytest.approx(2.0)
    assert row.spread == pytest.approx((2 - 2.4844, 2 + 2.4844), abs=1e-3)
    gaining = found[plans.GAINING]
    assert isinstance(gaining, Measured)
    assert gaining.value == 1


def test_a_seed_without_its_pair_is_left_out() -> None:
    runs = [record(0, "uniform", 0.9), record(0, "mixed", 0.9), record(1, "uniform", 0.9)]
    (row,) = plans.summarise({"digits": runs})
    assert isinstance(row, Absent)
    assert "1 finished pairs" in row.reason
    assert not collect(plans.ROWS, iter([row]))["digits.mixed_minus_uniform"]["ok"]


def test_both_sides_share_everything_but_the_plan(prepared: tuple[Case, Inputs, Path]) -> None:
    case, inputs, _ = prepared
    uniform, mixed = (plans.make_job(case, inputs, 3, side) for side in plans.SIDES)
    assert uniform.seed == mixed.seed == 3
    assert [s for s in uniform.steps if s.kind == "finetune"] == [s for s in mixed.steps if s.kind == "finetune"]
    assert [step.kind for step in mixed.steps if step.kind != "sensitivity"] == [step.kind for step in uniform.steps]
    (own,) = (step for step in uniform.steps if step.kind == "allocate")
    (chosen,) = (step for step in mixed.steps if step.kind == "allocate")
    assert own.plan is not None
    assert {entry.bits for entry in own.plan.weights.values()} == {plans.BITS}
    network = discretise(read_canonical(inputs.model), case.dynamics)
    assert chosen.program_bytes == payload_bytes(network, own.plan)
    assert chosen.mean_weight_bits is None


def test_a_finished_run_comes_from_the_cache(
    prepared: tuple[Case, Inputs, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case, inputs, folder = prepared
    monkeypatch.setattr(plans, "CACHE", tmp_path)
    job = plans.make_job(case, inputs, 1, "uniform")
    assert plans.key(inputs, job) != plans.key(inputs, plans.make_job(case, inputs, 2, "uniform"))
    kept = record(1, "uniform", 0.5)
    path = tmp_path / f"digits-uniform-1-{plans.key(inputs, job)[:16]}.json"
    path.write_text(json.dumps(kept), encoding="utf-8")
    assert plans.one_run((case, 1, "uniform", str(folder), None)) == kept
