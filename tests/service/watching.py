"""Waiting for a job to get somewhere, and what it left."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from spikebit.client import Client
from spikebit.records import Job
from tests.service.harness import Service
from tests.worker.harness import until

PATIENCE_S = 120.0
REPRODUCED = (  # DESIGN 5: same inputs, spec, seed and engine → same bytes, also after a kill and resume
    "plan",
    "program-payload",
    "program-manifest",
    "program-golden",
    "finetuned-model",
    "counts-network",
    "counts-program",
)


@dataclass(frozen=True)
class Result:
    """What the user gets."""

    job: Job
    report: dict[str, Any]
    digests: dict[str, str]  # role → sha256 of what must be the same each time

    def section(self, kind: str) -> dict[str, Any]:
        """The report's last section of a kind."""
        found: dict[str, Any] = [one for one in self.report["sections"] if one["kind"] == kind][-1]
        return found

    @property
    def attempts(self) -> list[tuple[str, str | None]]:
        """(outcome, code) of each attempt."""
        return [(one["outcome"], one["code"]) for one in self.job.raw["attempts"]]


def finish(service: Service, job_id: str) -> Result:
    """The result of a job that must succeed, read with a new client."""
    with service.client() as client:
        job = client.wait_job(job_id, deadline=time.monotonic() + PATIENCE_S)
        assert job.status == "succeeded", job.raw
        return result_of(client, job)


def result_of(client: Client, job: Job) -> Result:
    """Report and digests of a job that succeeded."""
    artifacts = client.artifacts(job.id)
    roles = [artifact.role for artifact in artifacts]
    assert len(set(roles)) == len(roles), "a second attempt must not publish a second copy"
    digests = {one.role: one.sha256 for one in artifacts if one.role in REPRODUCED}
    assert set(digests) == set(REPRODUCED)
    return Result(job, json.loads(client.report(job.id)), digests)


def wait_for_epoch(client: Client, job_id: str, epoch: int) -> int:
    """Wait until so many epochs of the fine-tune are done; how many are."""

    def look() -> int | None:
        job = client.show("jobs", job_id)
        assert job["status"] in ("queued", "running"), job
        progress = job["progress"] or {}
        reached = str(progress.get("stage", "")).startswith("finetune") and progress["done"] >= epoch
        return int(progress["done"]) if reached else None

    return until(look, PATIENCE_S)
