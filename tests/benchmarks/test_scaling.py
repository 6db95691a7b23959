"""The simulation agrees with queueing theory."""

from __future__ import annotations

import pytest

from benchmarks.queueing import DAY_S, Costs, Plant, least_workers, simulate


@pytest.mark.parametrize("busy", [0.3, 0.6, 0.8])
def test_one_worker_with_equal_jobs_is_an_m_d_1_queue(busy: float) -> None:
    """Waiting time of M/D/1 (Pollaczek-Khinchine): P(no wait) = 1 - busy; the share of busy time is the load."""
    costs = Costs(0.0, 0.0, [10.0])
    found = simulate(costs, Plant(1, 1, 1), busy * DAY_S / 10.0, 20_000, seed=3)
    assert found.workers == pytest.approx(busy, rel=0.05)
    assert (found.wait_p50_s == 0.0) == (busy < 0.5)


def test_every_station_carries_its_own_load() -> None:
    found = simulate(Costs(0.5, 0.2, [2.0]), Plant(1, 2, 4), DAY_S, 20_000, seed=1)
    assert found.api == pytest.approx(0.5, rel=0.05)
    assert found.database == pytest.approx(0.1, rel=0.05)
    assert found.workers == pytest.approx(0.5, rel=0.05)


def test_a_burst_of_one_tenant_makes_the_others_wait() -> None:
    costs = Costs(0.01, 0.01, [5.0])
    quiet = simulate(costs, Plant(1, 1, 4), 20_000, 4000, seed=1)
    burst = simulate(costs, Plant(1, 1, 4), 20_000, 4000, seed=1, burst=500)
    assert burst.wait_p95_s > 10 * max(1.0, quiet.wait_p95_s)


def test_one_worker_less_is_too_few() -> None:
    costs = Costs(0.01, 0.01, [5.0, 30.0])
    workers, found = least_workers(costs, 1e4, 20_000, 60.0, seed=1)
    assert found.wait_p95_s <= 60.0
    assert simulate(costs, Plant(1, 1, workers - 1), 1e4, 20_000, seed=1).wait_p95_s > 60.0
