"""``make bench NAME=plans``: the plan of ``hessian-mixed`` against uniform 3 bit at equal bytes, seeds paired.

Both sides of a pair have the same network, data, seed, fine-tuning schedule and, as ``allocate`` predicts it, at most
the same ``payload.bin`` (what each came to is in the detail: widths of biases are known at the end); they differ in the
plan alone. Accuracy is of the integer program on the test split; nothing is chosen there. Finished runs are kept in
``out/bench/plans`` under a digest of all that they depend on, so that an interrupted benchmark goes on where it was;
delete the folder after a change of the engine that its version does not show.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from benchmarks.environment import describe
from benchmarks.events import Quiet
from benchmarks.frame import Absent, Finding, Measured, Row
from benchmarks.networks import ABSENT, NAMED, ROOT, Case

if TYPE_CHECKING:
    from engine.run import Inputs
    from engine.specs.job import Job

CACHE = ROOT / "out" / "bench" / "plans"
SEEDS = (0, 1, 2, 3, 4)
BITS = 3
SIDES = ("uniform", "mixed")
PROCESSES = 2
# Student's t, two-sided 95 %, by the number of pairs.
T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
# Epochs of both sides where the recipe's would take hours: the convolutional network.
EPOCHS = {"cnn_sinabs": 2}

GAINING = "networks_where_mixed_gains"
ROWS = (
    *(Row(f"{case.name}.mixed_minus_uniform", "points", "higher", must=-0.3, stretch=0.01) for case in NAMED),
    Row(GAINING, "", "higher", must=2, stretch=4),
)


def run() -> Iterator[Finding]:
    """All pairs that are not in the cache, two runs at a time; every finished run is kept at once."""
    present = [case for case in NAMED if case.present]
    commit = describe()["commit"]
    with (
        tempfile.TemporaryDirectory(prefix="spikebit-plans-") as folder,
        ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        for case in present:
            case.prepare(Path(folder) / case.name)
        present.sort(key=lambda case: case.name in EPOCHS)  # the slow ones last: an interrupted run leaves whole pairs
        tasks = [(case, seed, side, folder, commit) for case in present for seed in SEEDS for side in SIDES]
        results = list(pool.map(one_run, tasks))
    runs = {case.name: [r for (of, *_), r in zip(tasks, results, strict=True) if of is case] for case in present}
    for case in NAMED:
        if case.name not in runs:
            yield Absent(f"{case.name}.mixed_minus_uniform", ABSENT)
    yield from summarise(runs)


def summarise(runs: dict[str, list[dict[str, Any]]]) -> Iterator[Finding]:
    """The mean of the paired differences with its 95 % interval, per network.

    Args:
        runs: network → records of :func:`one_run` of both sides; seeds that lack a side are left out.
    """
    gaining = []
    for name, records in runs.items():
        sides = {side: {r["seed"]: r for r in records if r["side"] == side} for side in SIDES}
        seeds = sorted(set(sides["uniform"]) & set(sides["mixed"]))
        if len(seeds) < 2:
            yield Absent(f"{name}.mixed_minus_uniform", f"{len(seeds)} finished pairs, a spread needs two")
            continue
        gains = [100 * (sides["mixed"][s]["accuracy"] - sides["uniform"][s]["accuracy"]) for s in seeds]
        half = T95[len(gains)] * stdev(gains) / len(gains) ** 0.5
        interval = (mean(gains) - half, mean(gains) + half)
        gaining.append(mean(gains) > 0)
        yield Measured(f"{name}.mixed_minus_uniform", mean(gains), interval, {"differences": gains, "runs": records})
    if gaining:
        yield Measured(GAINING, sum(gaining), detail={"networks": len(gaining)})


def one_run(task: tuple[Case, int, str, str, str | None]) -> dict[str, Any]:
    """One side of one pair: from the cache, or a job in this process, then in the cache.

    Args:
        task: network, seed, side, folder that holds the canonical files, commit to be noted.
    """
    from engine.run import run as run_job

    case, seed, side, folder, commit = task
    inputs = case.prepare(Path(folder) / case.name)
    job = make_job(case, inputs, seed, side)
    cached = CACHE / f"{case.name}-{side}-{seed}-{key(inputs, job)[:16]}.json"
    if cached.exists():
        record: dict[str, Any] = json.loads(cached.read_text(encoding="utf-8"))
        return record
    with tempfile.TemporaryDirectory(prefix=f"spikebit-{case.name}-") as out:
        report = run_job(job, inputs, Path(out), Quiet()).report
    sections = {section.kind: section for section in report.sections}
    allocated, program, judged = sections["allocate"], sections["integerize"], report.comparison
    if judged is None or allocated.kind != "allocate" or program.kind != "integerize":
        raise RuntimeError("the report of hessian-mixed lacks its comparison")
    record = {
        "seed": seed,
        "side": side,
        "accuracy": judged.program_accuracy.value,
        "float_accuracy": judged.float_accuracy.value,
        "test_samples": judged.program_accuracy.samples,
        "bits": {name: entry.bits for name, entry in allocated.plan.weights.items()},
        "program_bytes": program.program_bytes,
        "mean_weight_bits": program.mean_weight_bits,
        "mismatched_spikes": program.mismatched_spikes,
        "seconds": round(report.seconds, 1),
        "commit": commit,
    }
    CACHE.mkdir(parents=True, exist_ok=True)
    partial = cached.with_suffix(f".{side}.part")
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    partial.replace(cached)
    return record


def make_job(case: Case, inputs: Inputs, seed: int, side: str) -> Job:
    """The recipe at the uniform plan's bytes, or its steps after the sensitivity with the uniform plan itself."""
    from engine.network.canonical import read_canonical
    from engine.network.discretise import discretise
    from engine.program.sizes import payload_bytes
    from engine.specs.job import JobRequest, resolve_job
    from engine.specs.plan import Plan, WeightPlan
    from engine.specs.recipes import expand_recipe

    network = discretise(read_canonical(inputs.model), case.dynamics)
    options: dict[str, dict[str, Any]] = {"finetune": {"float_control": False}}
    if case.name in EPOCHS:
        options["finetune"]["epochs"] = EPOCHS[case.name]
    granularity = next(s.granularity for s in expand_recipe("hessian-mixed", {}) if s.kind == "allocate")
    entry = WeightPlan(bits=BITS, granularity=granularity)
    uniform = Plan(weights={c.name: entry for c in network.weighted})
    if side == "uniform":
        steps = expand_recipe("hessian-mixed", options, plan=uniform)
        kept = tuple(step for step in steps if step.kind != "sensitivity")
        request = JobRequest(model="m", dataset="d", steps=kept, seed=seed)
    else:
        budget = payload_bytes(network, uniform)
        request = JobRequest(
            model="m", dataset="d", recipe="hessian-mixed", options=options, program_bytes=budget, seed=seed
        )
    return resolve_job(request, case.dynamics)


def key(inputs: Inputs, job: Job) -> str:
    """SHA-256 of everything that a run's outcome depends on, the commit left out: files, job, versions."""
    import torch

    from engine.version import ENGINE_VERSION

    digest = hashlib.sha256()
    files = [inputs.dataset, *sorted(path for path in inputs.model.rglob("*") if path.is_file())]
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    digest.update(job.model_dump_json().encode())
    digest.update(f"{ENGINE_VERSION} {torch.__version__}".encode())
    return digest.hexdigest()
