"""``make bench NAME=quality-full``: what ``NAME=quality`` leaves out for its time: five seeds, plans at equal bytes.

- ``NETWORK.mixed_minus_uniform``: the plan of ``hessian-mixed`` against uniform 3 bit at equal bytes, seeds paired, on
  the networks of ``NAME=quality`` (:mod:`benchmarks.plans` makes the jobs and keeps them); the spread is the 95 %
  interval. ``mean.mixed_minus_uniform``: of the networks' means; the spread is that of the networks.
- ``state6``: 6-bit states against the same fine-tune with 16 bits, seeds paired.
- ``stretch``: ``hessian-mixed`` at 2.6 mean bits.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import plans
from benchmarks.environment import describe
from benchmarks.frame import Absent, Finding, Measured, Row
from benchmarks.jobs import Task, run_job
from benchmarks.networks import ABSENT
from benchmarks.quality_settings import NETWORKS, SMALL, mixed, narrow_states

SEEDS = (0, 1, 2, 3, 4)
PROCESSES = 2
STATE_BITS = 6
WIDE = mixed(4.0, SMALL, "state16")
NARROW = mixed(4.0, SMALL, "state6", neuron=narrow_states(STATE_BITS))
STRETCH = mixed(2.6, NETWORKS, "stretch")
MEAN = "mean.mixed_minus_uniform"
ROWS = (
    Row(MEAN, "points", "higher", must=-0.3, stretch=1.0),
    *(Row(f"{case.name}.mixed_minus_uniform", "points", "higher") for case in NETWORKS),
    Row("state6.extra_drop", "points", "lower", must=None, stretch=0.5),
    Row("stretch.mean_drop", "points", "lower", must=None, stretch=1.0),
    Row("stretch.reduction", "", "higher", must=None, stretch=0.91),
)


def run() -> Iterator[Finding]:
    """Pairs of plans first, then states and the stretch plan; every finished job is kept."""
    present = [case for case in NETWORKS if case.present]
    commit = describe()["commit"]
    with (
        tempfile.TemporaryDirectory(prefix="spikebit-quality-full-") as folder,
        ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        for case in present:
            case.prepare(Path(folder) / case.name)
        pairs = [(case, seed, side, folder, commit) for case in present for seed in SEEDS for side in plans.SIDES]
        records = list(pool.map(plans.one_run, pairs))
        gained = {c.name: [r for (of, *_), r in zip(pairs, records, strict=True) if of is c] for c in present}
        yield from _gains(gained)
        asked = [(s, c, seed) for s in (WIDE, NARROW, STRETCH) for c in s.cases if c.present for seed in SEEDS]
        jobs: list[Task] = [(case, seed, setting.fields, folder) for setting, case, seed in asked]
        found: dict[str, dict[str, list[dict[str, Any]]]] = {s.name: {} for s in (WIDE, NARROW, STRETCH)}
        for (setting, case, _), record in zip(asked, pool.map(run_job, jobs), strict=True):
            found[setting.name].setdefault(case.name, []).append(record)
    yield from summarise(found)


def _gains(records: dict[str, list[dict[str, Any]]]) -> Iterator[Finding]:
    """Rows of :func:`benchmarks.plans.summarise`, and their mean."""
    rows = [row for row in plans.summarise(records) if row.name != plans.GAINING]
    yield from rows
    values = [row.value for row in rows if isinstance(row, Measured)]
    yield Measured(MEAN, mean(values), (min(values), max(values))) if values else Absent(MEAN, ABSENT)
    for case in NETWORKS:
        if case.name not in records:
            yield Absent(f"{case.name}.mixed_minus_uniform", ABSENT)


def summarise(found: dict[str, dict[str, list[dict[str, Any]]]]) -> Iterator[Finding]:
    """States and the stretch plan.

    Args:
        found: setting → network → its records by seed.
    """
    extra = {
        name: mean(n["drop_points"] - w["drop_points"] for n, w in zip(narrow, found[WIDE.name][name], strict=True))
        for name, narrow in found[NARROW.name].items()
    }
    yield Measured("state6.extra_drop", mean(extra.values()), (min(extra.values()), max(extra.values())), extra)
    runs = found[STRETCH.name]
    drops = {name: mean(r["drop_points"] for r in records) for name, records in runs.items()}
    yield Measured(
        "stretch.mean_drop", mean(drops.values()), (min(drops.values()), max(drops.values())), {"runs": runs}
    )
    reductions = [mean(r["reduction"] for r in records) for records in runs.values()]
    yield Measured("stretch.reduction", mean(reductions), (min(reductions), max(reductions)))
