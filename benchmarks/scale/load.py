"""Submits: many at once with one key, and as many as one API process takes."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import Any

import httpx

from benchmarks.frame import Measured
from benchmarks.scale import ONE_KEY, ONE_KEY_S, RATE_POSTGRES, RATE_SQLITE
from benchmarks.scale.stacks import conditions, cpu_s, hold_workers, running
from benchmarks.stack import Stack

CALLERS = 50
CONNECTIONS = 16
SECONDS = 10.0
ROUNDS = 3


def one_key() -> list[Measured]:
    """50 callers, one key, one body, at once."""
    with running("sqlite") as (stack, ids):
        jobs, slowest = asyncio.run(_same(stack, ids))
        detail = {"callers": CALLERS, **conditions()}
    return [Measured(ONE_KEY, len(jobs), detail=detail), Measured(ONE_KEY_S, slowest, detail=detail)]


def rate_sqlite() -> list[Measured]:
    """Submits per second on SQLite."""
    return [_rate("sqlite", RATE_SQLITE)]


def rate_postgres() -> list[Measured]:
    """Submits per second on PostgreSQL."""
    return [_rate("postgres", RATE_POSTGRES)]


async def _same(stack: Stack, ids: dict[str, str]) -> tuple[set[str], float]:
    headers = _headers(stack) | {"Idempotency-Key": str(uuid.uuid4())}
    body = {**ids, "recipe": "evaluate"}
    limits = httpx.Limits(max_connections=CALLERS)
    async with httpx.AsyncClient(
        base_url=stack.url, headers=headers, timeout=30, trust_env=False, limits=limits
    ) as http:
        await asyncio.gather(*(http.get("/livez") for _ in range(CALLERS)))  # connected, as any caller that uploaded is
        begun = time.perf_counter()
        answers = await asyncio.gather(*(http.post("/v1/jobs", json=body) for _ in range(CALLERS)))
        seconds = time.perf_counter() - begun
    statuses = {answer.status_code for answer in answers}
    if statuses != {202}:
        raise RuntimeError(f"expected 202 for every caller, got {sorted(statuses)}")
    return {answer.json()["id"] for answer in answers}, seconds


def _rate(database: str, row: str) -> Measured:
    """The best of a few rounds: whatever else runs on the machine only takes away; all rounds are in the spread."""
    with running(database, settings={"LOG_LEVEL": "warning"}) as (stack, ids):
        hold_workers(stack)
        rounds = [asyncio.run(_closed_loop(stack, ids)) for _ in range(ROUNDS)]
        measured_under = conditions()
    best = max(rounds, key=lambda one: float(one["per_s"]))
    rates = [float(one["per_s"]) for one in rounds]
    return Measured(row, max(rates), (min(rates), max(rates)), best | measured_under)


async def _closed_loop(stack: Stack, ids: dict[str, str]) -> dict[str, Any]:
    """Callers that submit one job after the other; over bare sockets, for a client library takes as long as the API."""
    url = httpx.URL(stack.url)
    body = json.dumps({**ids, "recipe": "evaluate"}).encode()
    lines = [f"{name}: {value}" for name, value in _headers(stack).items()]
    lines += [f"Host: {url.netloc.decode()}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    head = "\r\n".join(["POST /v1/jobs HTTP/1.1", *lines, "Idempotency-Key: "]).encode()
    done = 0
    until = time.perf_counter() + SECONDS

    async def caller() -> None:
        nonlocal done
        reader, writer = await asyncio.open_connection(url.host, url.port)
        while time.perf_counter() < until:
            writer.write(head + uuid.uuid4().hex.encode() + b"\r\n\r\n" + body)
            await _accepted(reader)
            done += 1
        writer.close()

    before, own = cpu_s(stack.pid("api")), time.process_time()
    begun = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CONNECTIONS)))
    seconds = time.perf_counter() - begun
    return {
        "per_s": done / seconds,
        "connections": CONNECTIONS,
        "load_generator_cpu_share": (time.process_time() - own) / seconds,
        "api_cpu_share": (cpu_s(stack.pid("api")) - before) / seconds,
        "api_cpu_ms_each": 1000 * (cpu_s(stack.pid("api")) - before) / max(1, done),
    }


async def _accepted(reader: asyncio.StreamReader) -> None:
    """Read one answer, which must be 202 and tell its length."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status, *lines = head.split("\r\n")
    if status.split(" ")[1] != "202":
        raise RuntimeError(f"expected 202, got {status}")
    length = next(int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:"))
    await reader.readexactly(length)


def _headers(stack: Stack) -> dict[str, str]:
    return {"Authorization": f"Bearer {stack.key}"}
