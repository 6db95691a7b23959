"""``make bench NAME=streaming``: a dataset of events that is larger than memory may be, through intake and evaluation.

Peak resident memory of the two processes, as the kernel counts it: the limited child that checks and re-writes the
file, and a process that runs the engine on the result as a job's child does. ``SPIKEBIT_BENCH_EVENTS_GB`` (default 4)
sets the size of the file; less than the default never counts as the row.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.frame import Absent, Finding, Measured, Row
from benchmarks.large_events import EVENT_BYTES, SENSOR, write_large_events

FULL_GB = 4.0
EVENTS = 300_000
CLASSES = 11
TRANSFORM = {"binning": {"kind": "time", "bin_s": 0.01, "steps": 40}}
GB = 1e9

ROWS = (
    Row("intake_peak", "GB", "lower", must=2.0),
    Row("evaluate_peak", "GB", "lower", must=2.0),
    Row("intake_seconds", "s", "lower"),
    Row("evaluate_seconds", "s", "lower"),
)


def run() -> Iterator[Finding]:
    """Generate, check, evaluate."""
    size = float(os.environ.get("SPIKEBIT_BENCH_EVENTS_GB", FULL_GB))
    if size < FULL_GB:
        for row in ROWS:
            yield Absent(row.name, f"a file of {size} GB was asked for, the rows are for {FULL_GB} GB")
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("SPIKEBIT_BENCH_TMP")) as folder:
        for name, (value, detail) in measure(Path(folder), size).items():
            yield Measured(name, value, detail=detail)


def measure(folder: Path, size_gb: float) -> dict[str, tuple[float, Mapping[str, Any]]]:
    """Value and detail of every row for a file of this size.

    Raises:
        RuntimeError: one of the processes failed; the message holds its answer.
    """
    source, canonical, model = folder / "events.npz", folder / "canonical", folder / "model"
    samples = -(-int(size_gb * GB) // (EVENTS * EVENT_BYTES))
    written = write_large_events(source, samples, EVENTS, CLASSES)
    request = {
        "kind": "dataset",
        "path": str(source),
        "out": str(canonical),
        "format": "events",
        "transform": TRANSFORM,
        "limits": {"cpu_s": 3600, "inflated_bytes": 64 << 30, "file_bytes": 64 << 30},
    }
    intake, intake_s, intake_peak = _measured((sys.executable, "-m", "worker.intake_child"), json.dumps(request))
    if not intake.get("ok"):
        raise RuntimeError(f"intake: {intake}")
    _write_model(model)
    command = (sys.executable, "-m", "benchmarks.streaming", str(model), str(canonical), str(folder / "out"))
    evaluated, evaluate_s, evaluate_peak = _measured(command, "")
    if not evaluated.get("streamed"):
        raise RuntimeError(f"evaluate: {evaluated}")
    detail = {"file_bytes": written, "canonical_bytes": canonical.stat().st_size, "samples": samples, **evaluated}
    return {
        "intake_peak": (intake_peak / GB, detail),
        "evaluate_peak": (evaluate_peak / GB, detail),
        "intake_seconds": (intake_s, {"events": intake["summary"]["events"]}),
        "evaluate_seconds": (evaluate_s, {}),
    }


def _measured(command: Sequence[str], line: str) -> tuple[dict[str, Any], float, int]:
    """A process's answer in JSON, its wall time, and its peak resident bytes."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("no pipes")
    process.stdin.write(line.encode() + b"\n")
    process.stdin.flush()
    answer = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdin.close()
    process.stdout.close()
    found: dict[str, Any] = json.loads(answer) if answer else {"status": process.returncode}
    return found, time.perf_counter() - began, usage.ru_maxrss * 1024


def _write_model(path: Path) -> None:
    """A linear layer of spiking neurons on the whole sensor."""
    import numpy as np

    from engine.network.canonical import write_canonical
    from engine.network.graph import Graph
    from engine.network.nodes import make_node

    inputs, ones = 2 * SENSOR * SENSOR, np.ones(CLASSES, np.float32)
    weight = np.random.default_rng(0).normal(0, 0.02, (CLASSES, inputs)).astype(np.float32)
    fields: dict[str, tuple[str, dict[str, Any]]] = {
        "input": ("Input", {"shape": [2, SENSOR, SENSOR]}),
        "flatten": ("Flatten", {"start_dim": 0, "end_dim": -1}),
        "fc": ("Linear", {"weight": weight}),
        "lif": ("LIF", {"tau": ones * 2e-3, "r": ones, "v_leak": 0 * ones, "v_threshold": ones}),
        "output": ("Output", {"shape": [CLASSES]}),
    }
    nodes = {name: make_node(name, kind, values) for name, (kind, values) in fields.items()}
    names = list(fields)
    write_canonical(Graph(nodes, tuple(pairwise(names))), path)


def _evaluate(model: Path, data: Path, out: Path) -> dict[str, Any]:
    """What a job's child does: the engine on canonical files."""
    from engine.run import Inputs
    from engine.run import run as run_engine
    from engine.specs.dynamics import DynamicsRequest, resolve_dynamics
    from engine.specs.job import JobRequest, resolve_job

    class Quiet:
        def progress(self, stage: str, done: int, total: int, message: str = "", **metrics: float) -> None: ...

        def checkpoint(self, path: Path) -> None: ...

        def log(self, message: str) -> None: ...

    job = resolve_job(JobRequest(model="mdl", dataset="dat", recipe="evaluate"))
    dynamics = resolve_dynamics(DynamicsRequest(preset="nir-paper"))
    out.mkdir()
    report = run_engine(job.model_copy(update={"dynamics": dynamics}), Inputs(model, data), out, Quiet()).report
    return {"streamed": report.data.streamed, "test": report.data.test, "steps": report.data.steps}


if __name__ == "__main__":
    print(json.dumps(_evaluate(*(Path(part) for part in sys.argv[1:4]))))
