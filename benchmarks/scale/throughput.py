"""Jobs that compute nothing: how many a second go through one, two and four workers, and what stays in memory."""

from __future__ import annotations

import os
import time

from benchmarks.frame import Measured
from benchmarks.scale import API_MEMORY, NOOP_1, NOOP_2, NOOP_4, WORKER_MEMORY
from benchmarks.scale.stacks import NOOP, conditions, running, wait_until_idle
from benchmarks.service import resident_bytes
from benchmarks.stack import Stack

JOBS = 40
WARM_UP, COUNTED = 60, 200
MIB = 1 << 20


def throughput() -> list[Measured]:
    """The same number of jobs for every number of workers; a child process starts for each job."""
    found = []
    first = 0.0
    for name, workers in ((NOOP_1, 1), (NOOP_2, 2), (NOOP_4, 4)):
        with running("postgres", compute=workers, settings=NOOP) as (stack, ids):
            _run(stack, ids, 2 * workers)
            begun = time.perf_counter()
            _run(stack, ids, JOBS)
            rate = JOBS / (time.perf_counter() - begun)
            first = first or rate
            detail = {"jobs": JOBS, "times_one_worker": rate / first, "cores": os.cpu_count(), **conditions()}
        found.append(Measured(name, rate, detail=detail))
    return found


def memory() -> list[Measured]:
    """Resident memory of the worker's and the API's process after a warm-up and 200 jobs later."""
    with running("sqlite", settings=NOOP) as (stack, ids):
        _run(stack, ids, WARM_UP)
        pids = stack.pid("compute-0"), stack.pid("api")
        before = [resident_bytes(pid) for pid in pids]
        _run(stack, ids, COUNTED)
        after = [resident_bytes(pid) for pid in pids]
    names = WORKER_MEMORY, API_MEMORY
    return [
        Measured(name, (late - early) / MIB, detail={"before_bytes": early, "jobs": COUNTED})
        for name, early, late in zip(names, before, after, strict=True)
    ]


def _run(stack: Stack, ids: dict[str, str], jobs: int) -> None:
    with stack.client() as client:
        submitted = [client.submit({**ids, "recipe": "evaluate", "seed": number}).id for number in range(jobs)]
    wait_until_idle(stack, submitted)
