"""Event streams that one API process holds open while nothing happens, and whether all of them learn of the end."""

from __future__ import annotations

import asyncio
import resource
import time

import httpx

from benchmarks.frame import Measured
from benchmarks.scale import WATCHERS
from benchmarks.scale.stacks import conditions, cpu_s, hold_workers, running
from benchmarks.service import resident_bytes
from benchmarks.stack import Stack

STREAMS = 600
IDLE_S = 10.0
END_S = 30.0


def watchers() -> list[Measured]:
    """Open them, let them idle, cancel the job, count those that were told."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    with running("sqlite", settings={"STREAMS_PER_KEY": str(2 * STREAMS)}) as (stack, ids):
        hold_workers(stack)
        with stack.client() as client:
            job = client.submit({**ids, "recipe": "evaluate"}).id
        before = resident_bytes(stack.pid("api"))
        told, share, last_s = asyncio.run(_watch(stack, job))
        detail = {
            "opened": STREAMS,
            **conditions(),
            "api_cpu_share_idle": share,
            "last_told_after_s": last_s,
            "memory_each_bytes": (resident_bytes(stack.pid("api")) - before) / STREAMS,
        }
    return [Measured(WATCHERS, told, detail=detail)]


async def _watch(stack: Stack, job: str) -> tuple[int, float, float]:
    headers = {"Authorization": f"Bearer {stack.key}", "Accept": "text/event-stream"}
    limits = httpx.Limits(max_connections=STREAMS + 8, max_keepalive_connections=STREAMS + 8)
    opened = asyncio.Semaphore(0)
    async with httpx.AsyncClient(
        base_url=stack.url, headers=headers, timeout=120, trust_env=False, limits=limits
    ) as http:

        async def one() -> float:
            async with http.stream("GET", f"/v1/jobs/{job}/events") as answer:
                answer.raise_for_status()
                async for line in answer.aiter_lines():
                    if line.startswith("id: 1"):
                        opened.release()
                    if line == "event: end":
                        return time.perf_counter()
            raise RuntimeError("the stream ended without its end")

        tasks = [asyncio.create_task(one()) for _ in range(STREAMS)]
        for _ in range(STREAMS):
            await asyncio.wait_for(opened.acquire(), 60)
        cpu, begun = cpu_s(stack.pid("api")), time.perf_counter()
        await asyncio.sleep(IDLE_S)
        share = (cpu_s(stack.pid("api")) - cpu) / (time.perf_counter() - begun)
        ended = time.perf_counter()
        (await http.post(f"/v1/jobs/{job}/cancel", headers={"Accept": "application/json"})).raise_for_status()
        done, late = await asyncio.wait(tasks, timeout=END_S)
        for task in late:
            task.cancel()
        told = [task.result() for task in done if task.exception() is None]
    return len(told), share, max(told, default=ended) - ended
