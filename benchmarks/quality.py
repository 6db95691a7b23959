"""``make bench NAME=quality``: integer programs against their float networks, on the test split.

One configuration for all networks and three seeds (:mod:`benchmarks.quality_settings`); validation samples come from
train, nothing is chosen on test. Runs the engine without the service, two jobs side by side on a thread each; finished
jobs are kept in ``out/bench/jobs``, an interrupted run goes on where it was.

- ``at_0.2``, ``at_0.5``, ``at_1.0``: ``hessian-mixed`` at the budget that stands for the bound; ``worst_network``: of
  the means over seeds; ``float_fine_tuned_drop``: the float network after the same schedule.
- ``ptq``: no labels, no gradient step. ``cpu_seconds``: of the slowest job's process.
- ``state8``: 8-bit states that hold ±1.25 thresholds, ``shift_leak``: leaks by a shift alone; both at the budget of
  ``at_0.2``, against its runs with the same seeds. ``saving``: membranes and currents against 32 bits.
- ``paper``: −58 % as Lui & Neftci ran it; the spread is the paired 95 % interval on the test split, a mean over seeds.
- ``recipe.NAME``: what the recipes' pages quote; ``mismatched_spikes``: training simulation against the program, all
  layers, steps and test samples. ``microcontroller`` runs the steps of ``hessian-mixed``.
- ``finetune.seconds``: wall time of the slowest fine-tune with one job beside it, ≤ 100,000 weights.
- ``neuron``: :mod:`benchmarks.four_state`.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import four_state
from benchmarks.frame import Absent, Finding, Measured
from benchmarks.jobs import Task, run_job
from benchmarks.networks import ABSENT, Case
from benchmarks.quality_settings import (
    ALONE,
    ALONE_BOUNDS,
    BASE,
    CONVOLUTIONAL,
    DIGITS,
    LEAK,
    LEVELS,
    PAPER,
    PTQ,
    RECIPES,
    SEEDS,
    SETTINGS,
    STATE,
    STATE_BITS,
    Setting,
    rows,
)

PROCESSES = 2
SMALL_NETWORK = 100_000  # weights
ROWS = (*rows(), *four_state.ROWS)

Runs = dict[str, list[dict[str, Any]]]  # network → its runs by seed


def run() -> Iterator[Finding]:
    """Every setting on its networks with every seed, two jobs at a time; the convolutional network's last."""
    with tempfile.TemporaryDirectory(prefix="spikebit-quality-") as folder:
        tasks = [
            (setting, case, seed) for setting in SETTINGS for case in setting.cases for seed in SEEDS if case.present
        ]
        tasks.sort(key=lambda task: task[1] is CONVOLUTIONAL)  # an interrupted run has most rows in its cache
        for case in {case.name: case for _, case, _ in tasks}.values():
            case.prepare(Path(folder) / case.name)
        jobs: list[Task] = [(case, seed, setting.fields, folder) for setting, case, seed in tasks]
        with ProcessPoolExecutor(
            PROCESSES, mp_context=multiprocessing.get_context("spawn"), initializer=_one_thread
        ) as pool:
            results = list(pool.map(_attempt, jobs))
        found: dict[str, Runs] = {setting.name: {} for setting in SETTINGS}
        failed: dict[str, str] = {}
        for (setting, case, seed), record in zip(tasks, results, strict=True):
            if isinstance(record, str):
                failed.setdefault(setting.name, f"{setting.name}, {case.name}, seed {seed}: {record}")
            else:
                found[setting.name].setdefault(case.name, []).append(record)
        yield from summarise(found, failed)
        yield from four_state.findings(Path(folder) / DIGITS.name, SEEDS)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _attempt(task: Task) -> dict[str, Any] | str:
    """The job's numbers, or why there are none: one job that fails must not cost the others' rows."""
    try:
        return run_job(task)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def summarise(found: dict[str, Runs], failed: dict[str, str]) -> Iterator[Finding]:
    """All rows of the jobs; those of a setting with a failed job are absent.

    Args:
        found: setting → network → its records, one for each seed in the same order.
        failed: setting → its first failure.
    """
    base = found[BASE.name]
    groups: list[tuple[tuple[Setting, ...], Callable[[], Iterator[Finding]]]] = [
        *(((setting,), partial(_level, setting, found[setting.name])) for _, setting, _, _ in LEVELS),
        ((BASE,), partial(_control, base)),
        ((LEVELS[1][1],), partial(_times, found[LEVELS[1][1].name])),
        ((PTQ,), partial(_ptq, found[PTQ.name])),
        ((STATE, BASE), partial(_state, found[STATE.name], base)),
        ((LEAK, BASE), partial(_leak, found[LEAK.name], base)),
        *(((PAPER,), partial(_paper, case, found[PAPER.name].get(case.name, []))) for case in PAPER.cases),
        *(((chosen,), partial(_recipe, chosen, found[chosen.name])) for chosen in (BASE, PTQ, PAPER, *RECIPES)),
        *(((BASE,), partial(_alone, case, base.get(case.name, []))) for case in ALONE),
    ]
    for settings, make in groups:
        if not any(setting.name in failed for setting in settings):
            yield from make()
    if failed:
        raise RuntimeError("; ".join(failed.values()))  # the reason of the rows that did not come


def _drops(runs: Runs) -> dict[str, float]:
    """Mean drop over seeds of each network, points."""
    return {name: mean(r["drop_points"] for r in records) for name, records in runs.items()}


def _level(setting: Setting, runs: Runs) -> Iterator[Finding]:
    drops = _drops(runs)
    reductions = {name: mean(r["reduction"] for r in records) for name, records in runs.items()}
    spread = (min(drops.values()), max(drops.values()))
    yield Measured(
        f"{setting.name}.reduction",
        mean(reductions.values()),
        (min(reductions.values()), max(reductions.values())),
        {"networks": reductions},
    )
    detail = {"networks": drops, "fields": dict(setting.fields), "runs": runs}
    yield Measured(f"{setting.name}.mean_drop", mean(drops.values()), spread, detail)
    worst = max(drops, key=lambda name: drops[name])
    seeds = [r["drop_points"] for r in runs[worst]]
    yield Measured(f"{setting.name}.worst_network", drops[worst], (min(seeds), max(seeds)), {"network": worst})


def _control(base: Runs) -> Iterator[Finding]:
    tuned = [100 * (r["float_accuracy"] - r["float_fine_tuned_accuracy"]) for runs in base.values() for r in runs]
    yield Measured("at_0.2.float_fine_tuned_drop", mean(tuned), (min(tuned), max(tuned)))


def _times(runs: Runs) -> Iterator[Finding]:
    """Of fine-tunes without a float control."""
    small = {name: records for name, records in runs.items() if records[0]["weights"] <= SMALL_NETWORK}
    for name, field in (("seconds", "seconds_by_step"), ("cpu_seconds", "cpu_seconds_by_step")):
        spent = {network: max(r[field]["finetune"] for r in records) for network, records in small.items()}
        values = spent.values()
        yield Measured(f"finetune.{name}", max(values), (min(values), max(values)), {"networks": spent})


def _ptq(runs: Runs) -> Iterator[Finding]:
    drops = _drops(runs)
    reductions = [mean(r["reduction"] for r in records) for records in runs.values()]
    yield Measured("ptq.mean_drop", mean(drops.values()), (min(drops.values()), max(drops.values())), {"runs": runs})
    yield Measured("ptq.worst_network", max(drops.values()))
    yield Measured("ptq.reduction", mean(reductions), (min(reductions), max(reductions)))
    yield Measured("ptq.cpu_seconds", max(r["cpu_seconds"] for records in runs.values() for r in records))


def _state(runs: Runs, base: Runs) -> Iterator[Finding]:
    """Two widths tell the two parts of the state apart: what is as wide as it is, and spikes of past steps."""
    yield _extra("state8.extra_drop", runs, base)
    savings = {}
    for name, records in runs.items():
        narrow, wide = records[0]["state_bytes"], base[name][0]["state_bytes"]  # 8 and 16 bits
        savings[name] = 1.0 - narrow / (wide + 2 * (wide - narrow))
    yield Measured("state8.saving", 1.0 - STATE_BITS / 32, None, {"bytes_with_spikes_of_past_steps": savings})


def _leak(runs: Runs, base: Runs) -> Iterator[Finding]:
    yield _extra("shift_leak.extra_drop", runs, base)


def _extra(row: str, runs: Runs, base: Runs) -> Finding:
    """Drop beyond that of the runs of ``at_0.2`` with the same network and seed."""
    extra = {
        name: mean(r["drop_points"] - b["drop_points"] for r, b in zip(records, base[name], strict=True))
        for name, records in runs.items()
    }
    detail = {"networks": extra, "runs": runs}
    return Measured(row, mean(extra.values()), (min(extra.values()), max(extra.values())), detail)


def _paper(case: Case, records: list[dict[str, Any]]) -> Iterator[Finding]:
    if not records:
        yield Absent(f"paper.{case.name}.drop", ABSENT)
        yield Absent(f"paper.{case.name}.reduction", ABSENT)
        return
    interval = (mean(r["drop_interval"][0] for r in records), mean(r["drop_interval"][1] for r in records))
    yield Measured(f"paper.{case.name}.drop", mean(r["drop_points"] for r in records), interval, {"runs": records})
    yield Measured(f"paper.{case.name}.reduction", min(r["reduction"] for r in records))


def _recipe(setting: Setting, runs: Runs) -> Iterator[Finding]:
    name = f"recipe.{'hessian-mixed' if setting is BASE else setting.name}"
    every = [r for records in runs.values() for r in records]
    drops = _drops(runs)
    detail = {"networks": drops, "compared_spikes": sum(r["compared_spikes"] for r in every)}
    if setting in RECIPES:
        detail["runs"] = runs
    yield Measured(f"{name}.mismatched_spikes", max(r["mismatched_spikes"] for r in every))
    yield Measured(f"{name}.mean_drop", mean(drops.values()), (min(drops.values()), max(drops.values())), detail)
    reductions = [r["reduction"] for r in every]
    yield Measured(f"{name}.reduction", mean(reductions), (min(reductions), max(reductions)))


def _alone(case: Case, records: list[dict[str, Any]]) -> Iterator[Finding]:
    if not records:
        for name, *_ in ALONE_BOUNDS:
            yield Absent(f"{case.name}.{name}", ABSENT)
        return
    drops = [r["drop_points"] for r in records]
    spread = (min(drops), max(drops))
    yield Measured(f"{case.name}.mean_drop", mean(drops), spread)
    yield Measured(f"{case.name}.worst_drop", max(drops), spread)
    for name, worst in (("mean_weight_bits", max), ("reduction", min), ("mismatched_spikes", max)):
        values = [r[name] for r in records]
        yield Measured(f"{case.name}.{name}", worst(values), (min(values), max(values)))
