"""``make bench NAME=quality``: integer programs against their float networks, on the test split.

One configuration of each recipe, as committed, for every network and three seeds; validation samples come from train,
nothing is chosen on test. Runs the engine without the service; finished jobs are kept in ``out/bench/jobs``.

- ``NETWORK.*``: ``hessian-mixed`` at up to 4 mean weight bits.
- ``ptq.*``: ``ptq`` as it is, means over all networks of ``benchmarks/networks.py``; ``cpu_seconds``: of the slowest
  job's process.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.frame import Absent, Finding, Measured, Row
from benchmarks.jobs import Task, run_job
from benchmarks.networks import ABSENT, NAMED, NETWORKS, Case

SEEDS = (0, 1, 2)
MEAN_BITS = 4.0
PROCESSES = 2
TUNED = {"recipe": "hessian-mixed", "mean_weight_bits": MEAN_BITS}
PTQ = {"recipe": "ptq"}


CASES = tuple(case for case in NAMED if case.name != "cnn_sinabs")
_BOUNDS = (
    ("mean_drop", "points", "lower", 1.2),
    ("worst_drop", "points", "lower", 2.5),
    ("mean_weight_bits", "bits", "lower", 4.0),
    ("reduction", "", "higher", 0.85),
    ("mismatched_spikes", "spikes", "lower", 0.0),
)
PTQ_ROWS = (
    Row("ptq.mean_drop", "points", "lower", must=0.5),
    Row("ptq.worst_drop", "points", "lower"),
    Row("ptq.reduction", "", "higher", must=0.78, stretch=0.84),
    Row("ptq.mismatched_spikes", "spikes", "lower", must=0.0),
    Row("ptq.cpu_seconds", "s", "lower", must=60.0),
)
ROWS = (
    *(
        Row(f"{case.name}.{name}", unit, better, must)  # type: ignore[arg-type]
        for case in CASES
        for name, unit, better, must in _BOUNDS
    ),
    *PTQ_ROWS,
)


def run() -> Iterator[Finding]:
    """Every network with every seed, two at a time."""
    tuned = [case for case in CASES if case.present]
    calibrated = [case for case in NETWORKS if case.present]
    with tempfile.TemporaryDirectory(prefix="spikebit-quality-") as folder:
        tasks: list[Task] = [(case, seed, fields, folder) for fields, cases in ((TUNED, tuned), (PTQ, calibrated))
                             for case in cases for seed in SEEDS]  # fmt: skip
        for case, seed, _, _ in tasks:
            case.prepare(Path(folder) / f"{case.name}-{seed}")
        with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
            results = list(pool.map(run_job, tasks))
    done = list(zip(tasks, results, strict=True))

    def of(case: Case, fields: dict[str, Any]) -> list[dict[str, Any]]:
        return [result for (owner, _, asked, _), result in done if owner is case and asked is fields]

    for case in CASES:
        yield from _findings(case, of(case, TUNED))
    yield from _ptq({case.name: of(case, PTQ) for case in calibrated})


def _findings(case: Case, rows: list[dict[str, Any]]) -> Iterator[Finding]:
    if not rows:
        for name, *_ in _BOUNDS:
            yield Absent(f"{case.name}.{name}", ABSENT)
        return
    drops = [row["drop_points"] for row in rows]
    spread = (min(drops), max(drops))
    yield Measured(f"{case.name}.mean_drop", mean(drops), spread, {"runs": rows})
    yield Measured(f"{case.name}.worst_drop", max(drops), spread)
    for name, worst in (("mean_weight_bits", max), ("reduction", min), ("mismatched_spikes", max)):
        values = [row[name] for row in rows]
        yield Measured(f"{case.name}.{name}", worst(values), (min(values), max(values)))


def _ptq(runs: dict[str, list[dict[str, Any]]]) -> Iterator[Finding]:
    """Means over networks of each network's mean over seeds; the spread is that of the networks."""
    if not runs:
        for row in PTQ_ROWS:
            yield Absent(row.name, "no network is present")
        return

    def each(field: str) -> list[float]:
        return [mean(row[field] for row in rows) for rows in runs.values()]

    drops, reductions = each("drop_points"), each("reduction")
    every = [row for rows in runs.values() for row in rows]
    spread = (min(drops), max(drops))
    yield Measured("ptq.mean_drop", mean(drops), spread, {"networks": runs})
    yield Measured("ptq.worst_drop", max(drops), spread)
    yield Measured("ptq.reduction", mean(reductions), (min(reductions), max(reductions)))
    yield Measured("ptq.mismatched_spikes", max(row["mismatched_spikes"] for row in every))
    yield Measured("ptq.cpu_seconds", max(row["cpu_seconds"] for row in every))
