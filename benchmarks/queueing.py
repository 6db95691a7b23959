"""A day of the service as a discrete-event simulation: submits, records, workers, and how long jobs wait.

Every job passes the API, the database (submit), a worker for as long as a measured job took, and the database again
(publish). Stations are first come, first served with several servers; arrivals are a Poisson process, and a burst of
one tenant may come on top. Times are seconds of CPU of one core as measured, so a server is a core.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass

DAY_S = 86_400.0


@dataclass(frozen=True)
class Costs:
    """Seconds of one core that a job costs: API, database (in all), and the measured run times on a worker."""

    api_s: float
    database_s: float
    run_s: Sequence[float]


@dataclass(frozen=True)
class Plant:
    """How many cores serve: API processes, cores of the database, workers."""

    api: int
    database: int
    workers: int


@dataclass(frozen=True)
class Outcome:
    """Shares of busy time, and how long jobs waited for a worker."""

    api: float
    database: float
    workers: float
    wait_p50_s: float
    wait_p95_s: float


class Station:
    """Servers behind one line."""

    def __init__(self, servers: int) -> None:
        self._free = [0.0] * servers
        self._servers = servers
        self.busy_s = 0.0

    def serve(self, at: float, seconds: float) -> tuple[float, float]:
        """Begin and end of a job that comes at an instant not before those that came earlier."""
        begin = max(at, heapq.heappop(self._free))
        heapq.heappush(self._free, begin + seconds)
        self.busy_s += seconds
        return begin, begin + seconds

    def share(self, seconds: float) -> float:
        """Of the servers' time."""
        return self.busy_s / (seconds * self._servers)


def simulate(costs: Costs, plant: Plant, jobs_per_day: float, jobs: int, seed: int, burst: int = 0) -> Outcome:
    """Let so many jobs come.

    Args:
        costs: of a job.
        plant: what serves them.
        jobs_per_day: mean rate of arrivals.
        jobs: how many are simulated.
        seed: of the draws.
        burst: of one tenant, at once in the middle; the waits that are told are those of the others.

    Example:
        >>> quiet = simulate(Costs(0.001, 0.001, [10.0]), Plant(1, 1, 4), 8640, 2000, 0)
        >>> round(quiet.workers, 1), quiet.wait_p50_s < 1
        (0.2, True)
    """
    draws = random.Random(seed)
    api, database, workers = Station(plant.api), Station(plant.database), Station(plant.workers)
    arrivals = []
    at = 0.0
    for number in range(jobs):
        at += draws.expovariate(jobs_per_day / DAY_S)
        arrivals.append((at, False))
        if number == jobs // 2:
            arrivals += [(at, True)] * burst
    # At a station jobs come in the order in which they left the one before: events in the order of time.
    events = [(instant, index, 0) for index, (instant, _) in enumerate(arrivals)]
    heapq.heapify(events)
    waits, last = [], 0.0
    while events:
        now, index, stage = heapq.heappop(events)
        if stage == 0:
            _, done = api.serve(now, costs.api_s)
        elif stage in (1, 3):
            _, done = database.serve(now, costs.database_s / 2)
        else:
            begin, done = workers.serve(now, draws.choice(costs.run_s))
            if not arrivals[index][1]:
                waits.append(begin - now)
        last = max(last, done)
        if stage < 3:
            heapq.heappush(events, (done, index, stage + 1))
    waits.sort()
    p50, p95 = waits[len(waits) // 2], waits[int(0.95 * (len(waits) - 1))]
    return Outcome(api.share(last), database.share(last), workers.share(last), p50, p95)


def least_workers(costs: Costs, jobs_per_day: float, jobs: int, wait_p95_s: float, seed: int) -> tuple[int, Outcome]:
    """The fewest workers with which 95 % of the jobs start within that time; API and database have enough cores."""
    load = jobs_per_day / DAY_S
    api, database = 1 + int(load * costs.api_s / 0.7), 1 + int(load * costs.database_s / 0.7)
    low = max(1, int(load * sum(costs.run_s) / len(costs.run_s)))
    for workers in range(low, 100 * low + 100):
        found = simulate(costs, Plant(api, database, workers), jobs_per_day, jobs, seed)
        if found.wait_p95_s <= wait_p95_s and found.workers < 1.0:
            return workers, found
    raise RuntimeError(f"no number of workers up to {100 * low + 100} is enough")
