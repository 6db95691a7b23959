"""``make bench NAME=quality``: fine-tuned integer programs against their float networks, on the test split.

One recipe configuration (``hessian-mixed`` as committed, at most 4 mean weight bits) for every network and three
seeds; validation samples come from train, nothing is chosen on test. Runs the engine without the service.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.events import Quiet
from benchmarks.frame import Absent, Finding, Measured, Row
from benchmarks.networks import ABSENT, NAMED, Case

SEEDS = (0, 1, 2)
MEAN_BITS = 4.0
PROCESSES = 2


CASES = tuple(case for case in NAMED if case.name != "cnn_sinabs")
_BOUNDS = (
    ("mean_drop", "points", "lower", 1.2),
    ("worst_drop", "points", "lower", 2.5),
    ("mean_weight_bits", "bits", "lower", 4.0),
    ("reduction", "", "higher", 0.85),
    ("mismatched_spikes", "spikes", "lower", 0.0),
)
ROWS = tuple(
    Row(f"{case.name}.{name}", unit, better, must)  # type: ignore[arg-type]
    for case in CASES
    for name, unit, better, must in _BOUNDS
)


def run() -> Iterator[Finding]:
    """Every network with every seed, two at a time."""
    with tempfile.TemporaryDirectory(prefix="spikebit-quality-") as folder:
        present = [case for case in CASES if case.present]
        tasks = [(case, seed, folder) for case in present for seed in SEEDS]
        with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
            results = list(pool.map(_one_run, tasks))
    for case in CASES:
        rows = [result for (owner, _, _), result in zip(tasks, results, strict=True) if owner.name == case.name]
        yield from _findings(case, rows)


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


def _one_run(task: tuple[Case, int, str]) -> dict[str, Any]:
    """One job in a process of its own; the numbers of its report."""
    from engine.run import run as run_job
    from engine.specs.job import JobRequest, resolve_job

    case, seed, folder = task
    work = Path(folder) / f"{case.name}-{seed}"
    (work / "out").mkdir(parents=True)
    request = JobRequest(model="m", dataset="d", recipe="hessian-mixed", mean_weight_bits=MEAN_BITS, seed=seed)
    job = resolve_job(request, case.dynamics)
    report = run_job(job, case.prepare(work), work / "out", Quiet()).report
    sections = {section.kind: section for section in report.sections}
    program, tuned, comparison = sections["integerize"], sections["finetune"], report.comparison
    if comparison is None or program.kind != "integerize" or tuned.kind != "finetune":
        raise RuntimeError("the report of hessian-mixed lacks its comparison")
    control = tuned.control_accuracy
    return {
        "seed": seed,
        "drop_points": comparison.drop_points,
        "float_accuracy": comparison.float_accuracy.value,
        "program_accuracy": comparison.program_accuracy.value,
        "float_fine_tuned_accuracy": None if control is None else control.value,
        "test_samples": comparison.program_accuracy.samples,
        "mean_weight_bits": program.mean_weight_bits,
        "reduction": program.reduction,
        "program_bytes": program.program_bytes,
        "mismatched_spikes": program.mismatched_spikes,
        "program_digest": program.program_digest,
        "seconds": round(report.seconds, 1),
    }
