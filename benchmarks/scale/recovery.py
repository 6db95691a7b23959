"""Workers killed in mid-fine-tune at default leases: how soon it runs again, from where, with what result."""

from __future__ import annotations

import json
import random
import statistics
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.frame import Measured
from benchmarks.scale import DIGESTS, RECOVERED, REPEATED
from benchmarks.scale.stacks import conditions, running
from benchmarks.stack import Stack
from spikebit.client import Client

KILLS, WORKERS = 20, 4
EPOCHS = 12
PATIENCE_S = 600.0
ROLES = ("plan", "program-payload", "program-manifest", "program-golden", "finetuned-model")
OPTIONS = {
    "sensitivity": {"min_probes": 2, "max_probes": 4, "max_samples": 64, "measure": "off"},
    "finetune": {"epochs": EPOCHS, "batch_size": 32, "float_control": False},
}


@dataclass(frozen=True)
class Kill:
    """One kill: the epoch that was done by then, and the seconds until the job ran again."""

    epoch: int
    seconds: float


def recovery() -> list[Measured]:
    """Waves of one job for each worker; every worker is killed once in its job and comes back a second later."""
    draws = random.Random(7)
    with running("sqlite", compute=WORKERS) as (stack, ids), stack.client() as client:
        request = {**ids, "recipe": "hessian-mixed", "mean_weight_bits": 4.0, "seed": 7, "options": OPTIONS}
        undisturbed = _digests(client, _wait(client, client.submit(request).id))
        kills: list[Kill] = []
        repeated, differing = [], 0
        while len(kills) < KILLS:
            jobs = [client.submit(request).id for _ in range(WORKERS)]
            hit = {job: _kill_worker_of(stack, client, job, draws.randint(1, EPOCHS - 4)) for job in jobs}
            again = _running_again(client, hit)
            for job, (epoch, _) in hit.items():
                record = _wait(client, job)
                kills.append(Kill(epoch, again[job]))
                repeated.append(max(0, epoch - _resumed_from(client, job)))
                differing += int(_digests(client, record) != undisturbed)
        measured_under = conditions()
    seconds = [kill.seconds for kill in kills]
    detail = {"kills": len(kills), "median_s": statistics.median(seconds), "epochs_done": [k.epoch for k in kills]}
    detail |= measured_under
    return [
        Measured(RECOVERED, max(seconds), (min(seconds), max(seconds)), detail),
        Measured(REPEATED, max(repeated)),
        Measured(DIGESTS, differing, detail={"roles": ROLES}),
    ]


def _kill_worker_of(stack: Stack, client: Client, job: str, epoch: int) -> tuple[int, float]:
    """SIGKILL the worker that trains the job once so many epochs are done, and start another in its place."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        record = client.show("jobs", job)
        progress = record["progress"] or {}
        if str(progress.get("stage")).startswith("finetune") and progress["done"] >= epoch:
            pid = int(record["attempts"][-1]["worker"].split(":")[1])
            part = next((part for part in stack.computes if stack.pid(part) == pid), None)
            if part is not None and record["status"] == "running":
                stack.kill(part)
                killed_at = time.monotonic()
                done = int((client.show("jobs", job)["progress"] or progress)["done"])
                time.sleep(1.0)
                stack.start(part)
                return done, killed_at
        time.sleep(0.05)
    raise TimeoutError(f"{job} did not reach epoch {epoch}")


def _running_again(client: Client, hit: dict[str, tuple[int, float]]) -> dict[str, float]:
    """Seconds from the kill until a second attempt runs, of each job."""
    found: dict[str, float] = {}
    until = time.monotonic() + PATIENCE_S
    while len(found) < len(hit) and time.monotonic() < until:
        for job, (_, killed_at) in hit.items():
            if job not in found and len(client.show("jobs", job)["attempts"]) > 1:
                found[job] = time.monotonic() - killed_at
        time.sleep(0.1)
    return found


def _wait(client: Client, job: str) -> dict[str, Any]:
    record = client.wait_job(job, deadline=time.monotonic() + PATIENCE_S)
    if record.status != "succeeded":
        raise RuntimeError(f"{job} ended as {record.status}: {record.raw['problem']}")
    return dict(record.raw)


def _digests(client: Client, record: dict[str, Any]) -> dict[str, str]:
    return {one.role: one.sha256 for one in client.artifacts(record["id"]) if one.role in ROLES}


def _resumed_from(client: Client, job: str) -> int:
    sections = json.loads(client.report(job))["sections"]
    found = next(one for one in sections if one["kind"] == "finetune")
    return int(found["resumed_from_epoch"] or 0)
