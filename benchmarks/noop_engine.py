"""An engine that computes nothing: what the service itself costs, job by job. Runs inside ``worker.child``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any


@dataclass(frozen=True)
class Inputs:
    """Canonical files, as the engine's own entry takes them."""

    model: Path
    dataset: Path
    expected_counts: Path | None = None
    expected_traces: Path | None = None


def run(job: Any, inputs: Inputs, out: Path, events: Any, resume: Path | None) -> Any:
    """A line of log, a progress, a checkpoint and a report, and done."""
    events.log("nothing to do")
    events.progress("nothing", 1, 1)
    (out / "state").write_text(json.dumps({"seed": job.seed}))
    events.checkpoint(out / "state")
    (out / "report.json").write_text(json.dumps({"seed": job.seed}))
    report = SimpleNamespace(role="report-json", path="report.json", media_type="application/json")
    return SimpleNamespace(report=None, artifacts=(report,), verdict="none")
