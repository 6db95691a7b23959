"""``make bench NAME=scaling``: what a job costs each part in CPU, and what follows for 10², 10⁴ and 10⁶ jobs a day.

Costs are CPU seconds of the processes, not elapsed time, so that other work on the machine does not enter. The rest is
a simulation with these costs (``benchmarks.queueing``), beside the plain arithmetic that it has to agree with.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.chaos.run import upload_inputs
from benchmarks.frame import Absent, Finding, Measured, Row
from benchmarks.postgres import NoPostgres, run_postgres
from benchmarks.queueing import DAY_S, Costs, Plant, least_workers, simulate
from benchmarks.scale.stacks import wait_until_idle
from benchmarks.service import descendants
from benchmarks.stack import Plan, Stack

JOBS = {"evaluate": 6, "hessian-mixed": 2}
RATES = {"10^2": 1e2, "10^4": 1e4, "10^6": 1e6}
SIMULATED = 20_000
WAIT_S = 60.0
IDLE_S = 60.0
BURST = 1000
API, DATABASE, REDIS, WORKER = (f"{part}: CPU of a job" for part in ("API", "PostgreSQL", "Redis", "worker process"))
EVALUATE, MAIN = "child: CPU of an evaluate job", "child: CPU of a main job on 240 digits"
WORKERS = {name: f"workers for {name} jobs a day" for name in RATES}
BUSY_API, BUSY_DATABASE = "one API process: share busy at 10^6", "one core of PostgreSQL: share busy at 10^6"
OTHERS = "10^4 a day, one tenant of 10^3 sends 1,000 at once: the others' p95 wait"
DIFFERENCE = "simulation against arithmetic: largest difference of busy shares"

ROWS = (
    *(Row(name, "ms", "lower") for name in (API, DATABASE, REDIS, WORKER)),
    *(Row(name, "s", "lower") for name in (EVALUATE, MAIN)),
    *(Row(name, "", "lower") for name in WORKERS.values()),
    Row(BUSY_API, "", "lower"),
    Row(BUSY_DATABASE, "", "lower"),
    Row(OTHERS, "s", "lower"),
    Row(DIFFERENCE, "", "lower", must=0.05),
)


def run() -> Iterator[Finding]:
    """Costs first, then the simulation with them."""
    try:
        costs, children, own = _measure()
    except NoPostgres as missing:
        yield from (Absent(row.name, str(missing)) for row in ROWS)
        return
    detail = {"jobs": JOBS, "basis": "CPU seconds of the processes, start of the child included"}
    yield from (Measured(name, 1000 * own[name], detail=detail) for name in (API, DATABASE, REDIS, WORKER))
    for name, recipe in ((EVALUATE, "evaluate"), (MAIN, "hessian-mixed")):
        yield Measured(name, children[recipe], detail=detail)
    differences = []
    for name, rate in RATES.items():
        jobs = SIMULATED if rate >= 1e4 else 1000
        workers, found = least_workers(costs, rate, jobs, WAIT_S, seed=1)
        mean = sum(costs.run_s) / len(costs.run_s)
        if jobs == SIMULATED:
            differences.append(abs(found.workers - rate / DAY_S * mean / workers))
        yield Measured(WORKERS[name], workers, detail={"busy": found.workers, "wait_p95_s": found.wait_p95_s})
        if name == "10^4":
            burst = simulate(costs, Plant(1, 1, workers), rate, SIMULATED, 1, BURST)
            yield Measured(OTHERS, burst.wait_p95_s, detail={"workers": workers, "without_s": found.wait_p95_s})
    yield Measured(BUSY_API, RATES["10^6"] / DAY_S * costs.api_s)
    yield Measured(BUSY_DATABASE, RATES["10^6"] / DAY_S * costs.database_s)
    yield Measured(DIFFERENCE, max(differences))


def _measure() -> tuple[Costs, dict[str, float], dict[str, float]]:
    """CPU seconds of each part over some jobs of both kinds, a client that waits for them included."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="spikebit-scaling-")))
        server = stack.enter_context(run_postgres(""))
        plan = Plan(folder / "stack", {"LOG_LEVEL": "warning", "WARM_CHILD": "false"}, server.new_database())
        started = stack.enter_context(Stack(plan))
        ids = upload_inputs(started, train=240, test=120)
        roots = {
            API: started.pid("api"),
            DATABASE: server.pid(),
            REDIS: started.pid("redis"),
            WORKER: started.pid("compute-0"),
        }

        def used() -> dict[str, float]:
            return {name: tree_cpu_s(pid, children=name == DATABASE) for name, pid in roots.items()}

        early, begun = used(), time.monotonic()
        time.sleep(IDLE_S)  # looks, sweeps and beats go on without jobs: what they cost is not a job's
        before, seconds = used(), time.monotonic() - begun
        idle = {name: (before[name] - early[name]) / seconds for name in roots}
        begun = time.monotonic()
        children: dict[str, float] = {}
        for recipe, number in JOBS.items():
            began = reaped_cpu_s(started.pid("compute-0"))
            _run(started, {**ids, "recipe": recipe}, number)
            children[recipe] = (reaped_cpu_s(started.pid("compute-0")) - began) / number
        total = sum(JOBS.values())
        after, seconds = used(), time.monotonic() - begun
        own = {name: max(0.0, after[name] - before[name] - idle[name] * seconds) / total for name in roots}
    return Costs(own[API], own[DATABASE], list(children.values())), children, own


def _run(stack: Stack, body: dict[str, Any], number: int) -> None:
    with stack.client() as client:
        jobs = [client.submit({**body, "seed": seed}).id for seed in range(number)]
        for job in jobs:
            client.wait_job(job)
    wait_until_idle(stack, jobs)


def tree_cpu_s(pid: int, *, children: bool) -> float:
    """CPU seconds of a process, with its living and dead descendants where asked."""
    own = _times(pid)
    if not children:
        return own[0]
    return sum(sum(_times(one)) for one in (pid, *descendants(pid)))


def reaped_cpu_s(pid: int) -> float:
    """CPU seconds of a process's children that have ended."""
    return _times(pid)[1]


def _times(pid: int) -> tuple[float, float]:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, 0.0
    return (int(fields[11]) + int(fields[12])) / 100, (int(fields[13]) + int(fields[14])) / 100
