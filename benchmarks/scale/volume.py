"""What a long queue and a long history cost: submits beside 100,000 queued rows, pages of 1,000,000 jobs."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import httpx
import redis
from sqlalchemy import create_engine, text

from benchmarks.frame import Measured
from benchmarks.scale import (
    LIST_POSTGRES,
    LIST_SQLITE,
    RINGS_POSTGRES,
    RINGS_SQLITE,
    SUBMIT_POSTGRES,
    SUBMIT_SQLITE,
)
from benchmarks.scale.stacks import conditions, running
from benchmarks.stack import Stack
from benchmarks.submit import percentile

QUEUED, ENDED = 100_000, 1_000_000
RATE_PER_S, REQUESTS = 20.0, 300
PAGES = 200
BATCH = 50_000
_KEPT = "tenant_id, model_id, dataset_id, priority, request, spec, engine_version, crashes, log_count"


def sqlite() -> list[Measured]:
    """On SQLite."""
    return _volume("sqlite", SUBMIT_SQLITE, RINGS_SQLITE, LIST_SQLITE)


def postgres() -> list[Measured]:
    """On PostgreSQL."""
    return _volume("postgres", SUBMIT_POSTGRES, RINGS_POSTGRES, LIST_POSTGRES)


def _volume(database: str, submit_row: str, rings_row: str, list_row: str) -> list[Measured]:
    """Queued rows are of a class that no worker here claims, so that they stay; the worker beside them is idle."""
    with running(database, settings={"LOG_LEVEL": "warning"}) as (stack, ids):
        url = stack.plan.database_url or f"sqlite:///{stack.data / 'spikebit.db'}"
        with stack.client() as client:
            template = client.submit({**ids, "recipe": "evaluate"}).id
            client.wait_job(template, deadline=time.monotonic() + 120)
        _copy(url, template, QUEUED, "queued", "cuda")
        with redis.Redis(port=stack.redis_port) as bell:
            latencies, rings = asyncio.run(_submits(stack, ids, bell))
            idle = 1
        _copy(url, template, ENDED, "succeeded", "compute")
        pages = _pages(stack)
        load = conditions()
    submits = {"queued": QUEUED, "requests": REQUESTS, "median_ms": percentile(latencies, 0.5), **load}
    listing = {"jobs": ENDED + QUEUED, "pages": PAGES, "median_ms": percentile(pages, 0.5), **load}
    return [
        Measured(submit_row, percentile(latencies, 0.99), (min(latencies), max(latencies)), submits),
        Measured(rings_row, max(0, rings - idle), detail={"most_rings": rings, "idle_workers": idle}),
        Measured(list_row, percentile(pages, 0.99), (min(pages), max(pages)), listing),
    ]


def _copy(url: str, template: str, number: int, status: str, job_class: str) -> None:
    """Copies of a real job's row, each a second older than the one before, then fresh statistics."""
    engine = create_engine(url)
    lite = engine.dialect.name == "sqlite"
    series = (
        "WITH RECURSIVE s(n) AS (SELECT :low UNION ALL SELECT n + 1 FROM s WHERE n + 1 < :high) "
        if lite
        else "WITH s(n) AS (SELECT generate_series(:low, :high - 1)) "
    )
    age = "datetime(j.created_at, '-' || n || ' seconds')" if lite else "j.created_at - n * interval '1 second'"
    identity = "'job_' || :prefix || " + ("printf('%020d', n)" if lite else "lpad(n::text, 20, '0')")
    ended = age if status == "succeeded" else "NULL"
    kept = ", ".join(f"j.{column}" for column in _KEPT.split(", "))
    into = f"INSERT INTO jobs ({_KEPT}, id, status, job_class, created_at, finished_at, attempt, version, event_seq) "
    rows = (
        f"SELECT {kept}, {identity}, :status, :job_class, {age}, {ended}, 0, 1, 0 FROM jobs j, s WHERE j.id = :template"
    )
    insert = text(series + into + rows if lite else into + series + rows)
    for low in range(1, number + 1, BATCH):
        with engine.begin() as connection:
            values = {"low": low, "high": min(low + BATCH, number + 1), "prefix": status[:4], "template": template}
            connection.execute(insert, values | {"status": status, "job_class": job_class})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    engine.dispose()


async def _submits(stack: Stack, ids: dict[str, str], bell: Any) -> tuple[list[float], int]:
    """Milliseconds from due to 202 at a fixed rate, and the most rings that were seen to wait in Redis."""
    headers = {"Authorization": f"Bearer {stack.key}"}
    body = {**ids, "recipe": "evaluate"}
    most = 0
    async with httpx.AsyncClient(base_url=stack.url, headers=headers, timeout=60, trust_env=False) as http:
        await http.get("/livez")
        start = time.perf_counter() + 0.1

        async def one(due: float) -> float:
            nonlocal most
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            answer = await http.post("/v1/jobs", json=body, headers={"Idempotency-Key": uuid.uuid4().hex})
            answer.raise_for_status()
            milliseconds = 1000 * (time.perf_counter() - due)
            most = max(most, *(int(bell.llen(key)) for key in ("spikebit:compute", "compute")))
            return milliseconds

        return await asyncio.gather(*(one(start + number / RATE_PER_S) for number in range(REQUESTS))), most


def _pages(stack: Stack) -> list[float]:
    """Milliseconds of each page of 50 jobs, from the newest on, with and without a filter."""
    taken = []
    with stack.http() as http:
        for query in ({}, {"status": "succeeded"}):
            cursor: str | None = None
            for _ in range(PAGES // 2):
                begun = time.perf_counter()
                answer = http.get("/v1/jobs", params={"limit": "50", **query, **({"cursor": cursor} if cursor else {})})
                taken.append(1000 * (time.perf_counter() - begun))
                answer.raise_for_status()
                cursor = answer.json()["next_cursor"]
    return taken
