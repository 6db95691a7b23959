"""Jobs that several rows share: run once in a process of their own, kept under a digest of all that they depend on."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.environment import describe, tree_of
from benchmarks.events import Quiet
from benchmarks.networks import ROOT, Case

CACHE = ROOT / "out" / "bench" / "jobs"
Task = tuple[Case, int, Mapping[str, Any], str]  # network, seed, fields of the request, folder for canonical files


class _Timed(Quiet):
    """Notes how much processor time the process had used when each step began."""

    def __init__(self) -> None:
        self.began: list[tuple[str, float]] = []

    def log(self, message: str) -> None:
        """The engine says ``step 2 of 6: allocate``."""
        if message.startswith("step "):
            self.began.append((message.rpartition(" ")[2], time.process_time()))

    def cpu_seconds(self) -> dict[str, float]:
        """Processor seconds by kind of step; the report counts to the last one."""
        spent: dict[str, float] = {}
        marks = [*self.began, ("", time.process_time())]
        for (kind, at), (_, end) in pairwise(marks):
            spent[kind] = round(spent.get(kind, 0.0) + end - at, 1)
        return spent


def run_job(task: Task) -> dict[str, Any]:
    """The numbers of one job's report: from ``out/bench/jobs``, or run now and then kept there.

    The key holds the resolved job, the canonical files and the committed trees of engine and runtime; a checkout with
    changes keeps nothing. So an interrupted benchmark goes on where it was, after a commit elsewhere too, and another
    engine never finds these results.
    """
    from engine.run import run as run_engine
    from engine.specs.job import JobRequest, resolve_job

    case, seed, fields, folder = task
    inputs = case.prepare(Path(folder) / case.name)
    job = resolve_job(JobRequest(model="m", dataset="d", seed=seed, **fields), case.dynamics)
    clean = describe()["clean"]
    parts = [job.model_dump_json(), *(str(tree_of(package)) for package in ("engine", "runtime"))]
    parts += [hashlib.sha256(path.read_bytes()).hexdigest() for path in (inputs.model, inputs.dataset)]
    kept = CACHE / f"{case.name}-{seed}-{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:16]}.json"
    if clean and kept.exists():
        record: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return record
    with tempfile.TemporaryDirectory(prefix=f"spikebit-{case.name}-") as out:
        began, events = time.process_time(), _Timed()
        record = _numbers(run_engine(job, inputs, Path(out), events).report, seed)
        record["cpu_seconds"] = round(time.process_time() - began, 1)
        record["cpu_seconds_by_step"] = events.cpu_seconds()
    if not clean:
        return record
    CACHE.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(".part")
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    partial.replace(kept)
    return record


def _numbers(report: Any, seed: int) -> dict[str, Any]:
    """What rows ask of a report."""
    sections = {section.kind: section for section in report.sections}
    program, comparison = sections["integerize"], report.comparison
    if comparison is None:
        raise RuntimeError("the job lacks the comparison of program and network")
    tuned = sections.get("finetune")
    control = None if tuned is None else tuned.control_accuracy
    return {
        "seed": seed,
        "drop_points": comparison.drop_points,
        "drop_interval": [comparison.drop_interval.low, comparison.drop_interval.high],
        "float_accuracy": comparison.float_accuracy.value,
        "program_accuracy": comparison.program_accuracy.value,
        "float_fine_tuned_accuracy": None if control is None else control.value,
        "validation_accuracy": None if tuned is None else _kept(tuned.quantized),
        "test_samples": comparison.program_accuracy.samples,
        "weights": sum(layer.weights for layer in program.layers),
        "bits": {layer.layer: layer.bits for layer in program.layers},
        "mean_weight_bits": program.mean_weight_bits,
        "reduction": program.reduction,
        "program_bytes": program.program_bytes,
        "state_bytes": program.state_bytes,
        "mismatched_spikes": program.mismatched_spikes,
        "compared_spikes": program.compared_spikes,
        "program_digest": program.program_digest,
        "seconds": round(report.seconds, 1),
        "seconds_by_step": {section.kind: round(section.seconds, 1) for section in report.sections},
    }


def _kept(curve: Any) -> float | None:
    """Accuracy on validation of the epoch that was kept; None: the start was."""
    return next((e.validation_accuracy for e in curve.epochs if e.epoch == curve.best_epoch), None)
