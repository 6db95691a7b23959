"""Rows of the quality benchmark: settings that a job takes, and what the numbers of finished jobs become."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import quality, quality_full
from benchmarks.frame import Absent, Measured, collect
from benchmarks.quality_settings import BASE, LEAK, LEVELS, PAPER, PTQ, RECIPES, SEEDS, SETTINGS, STATE
from engine.network.discretise import discretise
from engine.specs.job import JobRequest, resolve_job
from engine.specs.recipes import RECIPES as ALL_RECIPES


def record(seed: int, drop: float, **fields: Any) -> dict[str, Any]:
    return {
        "seed": seed,
        "drop_points": drop,
        "drop_interval": [drop - 1, drop + 2],
        "float_accuracy": 0.9,
        "float_fine_tuned_accuracy": 0.91,
        "weights": 1000,
        "reduction": 0.87,
        "mean_weight_bits": 4.0,
        "mismatched_spikes": 0,
        "compared_spikes": 10,
        "state_bytes": 160,
        "cpu_seconds": 3.0,
        "seconds_by_step": {"finetune": 5.0},
        "cpu_seconds_by_step": {"finetune": 2.0},
    } | fields


def made(drop: float = 0.1) -> dict[str, quality.Runs]:
    return {s.name: {c.name: [record(seed, drop) for seed in SEEDS] for c in s.cases} for s in SETTINGS}


def test_every_setting_is_a_job_that_resolves() -> None:
    for setting in SETTINGS:
        for case in setting.cases:
            job = resolve_job(JobRequest(model="m", dataset="d", seed=0, **dict(setting.fields)), case.dynamics)
            assert job.steps[-1].kind == "evaluate"


def test_every_recipe_that_quantizes_has_rows() -> None:
    quantizing = {name for name, recipe in ALL_RECIPES.items() if any(s.kind == "integerize" for s in recipe.steps)}
    named = {row.name.split(".")[1] for row in quality.ROWS if row.name.startswith("recipe.")}
    assert named == quantizing - {"microcontroller"}  # the steps of hessian-mixed


def test_one_configuration_for_all_networks_and_seeds() -> None:
    assert len(SEEDS) >= 3
    assert [bound for bound, *_ in LEVELS] == [0.2, 0.5, 1.0]
    for _, setting, _, _ in LEVELS:
        assert len(setting.cases) >= 8
    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS)


def test_leaking_networks_are_those_whose_decays_are_no_ends() -> None:
    for case in BASE.cases:
        if not case.present:
            continue
        network = discretise(read_canonical_of(case), case.dynamics)
        leaks = any(0 < float(layer.decay_v.min()) < 1 for layer in network.layers)
        assert leaks == (case in LEAK.cases), case.name


def read_canonical_of(case: Any) -> Any:
    from engine.network.nir_reader import read_nir

    return read_nir(case.model)


def test_means_of_means_and_the_worst_network() -> None:
    found = made()
    worst = BASE.cases[3].name
    found[BASE.name][worst] = [record(seed, drop) for seed, drop in zip(SEEDS, (1.0, 2.0, 3.0), strict=True)]
    rows = {f.name: f for f in quality.summarise(found, {})}
    mean = rows["at_0.2.mean_drop"]
    assert isinstance(mean, Measured)
    n = len(BASE.cases)
    assert mean.value == pytest.approx((0.1 * (n - 1) + 2.0) / n)
    row = rows["at_0.2.worst_network"]
    assert isinstance(row, Measured)
    assert row.value == pytest.approx(2.0)
    assert row.spread == (1.0, 3.0)
    control = rows["at_0.2.float_fine_tuned_drop"]
    assert isinstance(control, Measured)
    assert control.value == pytest.approx(-1.0)


def test_extra_drops_are_paired_with_the_base() -> None:
    found = made()
    name = STATE.cases[0].name
    found[STATE.name][name] = [record(seed, 0.1 + seed) for seed in SEEDS]  # 0, 1 and 2 points beyond
    rows = {f.name: f for f in quality.summarise(found, {})}
    row = rows["state8.extra_drop"]
    assert isinstance(row, Measured)
    assert row.detail is not None
    assert row.detail["networks"][name] == pytest.approx(1.0)
    assert row.value == pytest.approx(1.0 / len(STATE.cases))


def test_the_paper_shows_its_interval() -> None:
    rows = {f.name: f for f in quality.summarise(made(0.3), {})}
    row = rows[f"paper.{PAPER.cases[0].name}.drop"]
    assert isinstance(row, Measured)
    assert row.spread == pytest.approx((-0.7, 2.3))


def test_a_failed_job_takes_only_its_setting_with_it() -> None:
    rows = collect(quality.ROWS, quality.summarise(made(), {PTQ.name: "ptq, digits, seed 1: ValueError: no"}))
    lost = {name for name, row in rows.items() if row["value"] is None and not name.startswith("neuron.")}
    assert lost == {name for name in rows if name.startswith(("ptq.", "recipe.ptq."))}
    assert "digits, seed 1" in rows["ptq.mean_drop"]["reason"]


def test_a_network_that_is_not_there_is_absent() -> None:
    found = made()
    for runs in found.values():
        runs.pop("cnn_sinabs", None)
    rows = {f.name: f for f in quality.summarise(found, {})}
    assert isinstance(rows["paper.cnn_sinabs.drop"], Absent)
    assert isinstance(rows["paper.digits.drop"], Measured)
    assert {f"recipe.{s.name}.mean_drop" for s in RECIPES} <= set(rows)


def test_plans_of_all_networks_and_their_mean() -> None:
    def pair(name: str, gain: float) -> list[dict[str, Any]]:
        return [
            {"seed": seed, "side": side, "accuracy": 0.9 + gain * (side == "mixed") / 100}
            for seed in quality_full.SEEDS
            for side in ("uniform", "mixed")
        ]

    names = [case.name for case in quality_full.NETWORKS]
    findings = list(quality_full._gains({names[0]: pair(names[0], 2.0), names[1]: pair(names[1], -1.0)}))
    rows = collect(quality_full.ROWS, iter(findings))
    assert rows[quality_full.MEAN]["value"] == pytest.approx(0.5)
    assert rows[quality_full.MEAN]["ok"]
    assert rows[f"{names[2]}.mixed_minus_uniform"]["value"] is None


def test_narrow_states_are_paired_by_seed() -> None:
    settings = (quality_full.WIDE, quality_full.NARROW, quality_full.STRETCH)
    found = {s.name: {c.name: [record(k, 0.1) for k in quality_full.SEEDS] for c in s.cases} for s in settings}
    for name in found["state6"]:
        found["state6"][name] = [record(k, 0.1 + 0.5) for k in quality_full.SEEDS]
    rows = {row.name: row for row in quality_full.summarise(found)}
    row = rows["state6.extra_drop"]
    assert isinstance(row, Measured)
    assert row.value == pytest.approx(0.5)
    assert set(rows) == {r.name for r in quality_full.ROWS if "mixed_minus" not in r.name}
