"""How long a submit takes: an open loop of requests at a fixed rate, timed from when each was due."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.service import Service
from examples.digits import data as digits

RATE_PER_S = 20.0
REQUESTS = 200
ROUNDS = 3
NIR = Path(digits.__file__).resolve().parent / "digits.nir"


def upload_digits(service: Service) -> dict[str, str]:
    """The digits network and data as ready records: the two ids of a job request."""
    with service.connect() as client:
        model = client.add_model(NIR, dynamics="nir-paper")
        dataset = client.add_dataset(digits.build(service.data / "digits.npz"))
        deadline = time.monotonic() + 120
        client.wait_upload("models", model.id, deadline=deadline)
        client.wait_upload("datasets", dataset.id, deadline=deadline)
    return {"model": model.id, "dataset": dataset.id}


def submit_rounds(service: Service, ids: dict[str, str]) -> list[list[float]]:
    """Milliseconds from due to 202 of every request, per round."""
    return [asyncio.run(_round(service, {**ids, "recipe": "evaluate"})) for _ in range(ROUNDS)]


async def _round(service: Service, body: dict[str, Any]) -> list[float]:
    headers = {"Authorization": f"Bearer {service.endpoint.key}"}
    url = service.endpoint.url
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
        await client.get("/livez")  # the connection is there, as it is for any client that has uploaded
        start = time.perf_counter() + 0.1
        dues = [start + number / RATE_PER_S for number in range(REQUESTS)]
        return await asyncio.gather(*(_submit(client, body, due) for due in dues))


async def _submit(client: httpx.AsyncClient, body: dict[str, Any], due: float) -> float:
    await asyncio.sleep(max(0.0, due - time.perf_counter()))
    answer = await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": str(uuid.uuid4())})
    if answer.status_code != 202:
        raise RuntimeError(f"submit was answered {answer.status_code}: {answer.text[:300]}")
    return 1000 * (time.perf_counter() - due)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that ``share`` of all values do not exceed.

    Example:
        >>> percentile(list(range(1, 101)), 0.99)
        99
    """
    ordered = sorted(values)
    return ordered[max(0, -(-int(1000 * share * len(ordered)) // 1000) - 1)]


def summarise(rounds: list[list[float]]) -> tuple[float, tuple[float, float], dict[str, Any]]:
    """p99 of all requests, its spread over the rounds, and what else is worth keeping."""
    every = [value for values in rounds for value in values]
    per_round = [percentile(values, 0.99) for values in rounds]
    detail = {
        "requests": len(every),
        "rate_per_s": RATE_PER_S,
        "median_ms": statistics.median(every),
        "p99_of_rounds_ms": per_round,
        "p99_median_of_rounds_ms": statistics.median(per_round),
        "load": os.getloadavg()[0],
        "max_ms": max(every),
    }
    return percentile(every, 0.99), (min(per_round), max(per_round)), detail


@contextmanager
def held_worker(service: Service) -> Iterator[None]:
    """Compute worker stopped by SIGSTOP, so that it stays idle while jobs come in."""
    pids = service.processes("worker")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def start_finetune(service: Service, ids: dict[str, str], patience_s: float = 180.0) -> str:
    """A fine-tune that will not end by itself, already training; returns its job id.

    Raises:
        RuntimeError: it ended or did not get that far in time.
    """
    options = {
        "sensitivity": {"max_probes": 8, "measure": "off"},
        "finetune": {"epochs": 10_000, "float_control": False},
    }
    until = time.monotonic() + patience_s
    with service.connect() as client:
        job = client.submit({**ids, "recipe": "hessian-mixed", "options": options})
        while time.monotonic() < until:
            record = client.show("jobs", job.id, wait_s=1)
            if record["status"] not in {"queued", "running"}:
                raise RuntimeError(f"the fine-tune ended: {record['status']} {record.get('problem')}")
            if "finetune" in str((record.get("progress") or {}).get("stage")):
                return job.id
    raise RuntimeError(f"the fine-tune did not start training within {patience_s:.0f} s")
