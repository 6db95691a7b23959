"""Workers killed in mid-fine-tune at default leases: how soon it runs again, from where, with what result."""

from __future__ import annotations

import json
import random
import statistics
import threading
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.frame import Measured
from benchmarks.scale import DIGESTS, RECOVERED, REPEATED
from benchmarks.scale.stacks import conditions, running
from benchmarks.stack import Stack
from spikebit.client import Client

KILLS, WORKERS = 20, 4
EPOCHS = 40
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
            hit = _kill_workers_of(stack, client, {job: draws.randint(1, EPOCHS // 2) for job in jobs})
            again = _running_again(client, hit)
            for job in jobs:
                differing += int(_digests(client, _wait(client, job)) != undisturbed)
            for job, seconds in again.items():
                kills.append(Kill(hit[job][0], seconds))
                repeated.append(max(0, hit[job][0] - _resumed_from(client, job)))
        measured_under = conditions()
    taken = [kill.seconds for kill in kills]
    detail = {"kills": len(kills), "median_s": statistics.median(taken), "epochs_done": [k.epoch for k in kills]}
    detail |= measured_under
    return [
        Measured(RECOVERED, max(taken), (min(taken), max(taken)), detail),
        Measured(REPEATED, max(repeated)),
        Measured(DIGESTS, differing, detail={"roles": ROLES}),
    ]


def _kill_workers_of(stack: Stack, client: Client, epochs: dict[str, int]) -> dict[str, tuple[int, float]]:
    """SIGKILL the worker of each job once it has trained so many epochs; another starts in its place a second later.

    A job that ends before that is not hit.
    """
    hit: dict[str, tuple[int, float]] = {}
    waiting = dict(epochs)
    until = time.monotonic() + PATIENCE_S
    while waiting:
        if time.monotonic() > until:
            raise TimeoutError(f"{sorted(waiting)} did not reach their epochs")
        for job, epoch in list(waiting.items()):
            record = client.show("jobs", job)
            progress = record["progress"] or {}
            if record["status"] not in ("queued", "running"):
                del waiting[job]
            elif str(progress.get("stage")).startswith("finetune") and progress["done"] >= epoch:
                part = _part_of(stack, record["attempts"][-1]["worker"])
                if part is not None:
                    stack.kill(part)
                    killed_at = time.monotonic()
                    done = int((client.show("jobs", job)["progress"] or progress)["done"])
                    hit[job] = done, killed_at
                    threading.Timer(1.0, stack.start, (part,)).start()
                    del waiting[job]
    return hit


def _part_of(stack: Stack, worker: str) -> str | None:
    pid = int(worker.split(":")[1])
    return next((part for part in stack.computes if stack.pid(part) == pid), None)


def _running_again(client: Client, hit: dict[str, tuple[int, float]]) -> dict[str, float]:
    """Seconds from the kill until a second attempt runs; a job whose end was published before the kill is left out."""
    found: dict[str, float] = {}
    waiting = set(hit)
    until = time.monotonic() + PATIENCE_S
    while waiting:
        if time.monotonic() > until:
            raise TimeoutError(f"{sorted(waiting)} did not run again")
        for job in sorted(waiting):
            record = client.show("jobs", job)
            if len(record["attempts"]) > 1:
                found[job] = time.monotonic() - hit[job][1]
            elif record["status"] in ("queued", "running"):
                continue
            waiting.discard(job)
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
