"""Whole worker processes: killed, stopped, rung; a second one goes on where the first ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from jobs.queue import Doorbell
from jobs.store import list_artifacts
from serve.redis import find_redis, make_socket_folder, redis_command, wait_for_ping
from tests.services import postgres_server
from tests.worker.harness import Bench, gone, until

__all__ = ["postgres_server"]

pytestmark = pytest.mark.service


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return ""
    url: str = request.getfixturevalue("postgres_server").new_database()
    return url


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """A private Redis of this test."""
    binary = find_redis()
    if binary is None:
        pytest.skip("no Redis server binary")
    folder = make_socket_folder()
    path = folder / "redis.sock"
    server = subprocess.Popen(redis_command(binary, path, tmp_path), stdout=subprocess.DEVNULL)
    try:
        assert wait_for_ping(path, 10)
        yield f"redis+socket://{path}"
    finally:
        server.terminate()
        server.wait(10)
        path.unlink(missing_ok=True)
        folder.rmdir()


def test_several_ringers_ring_no_more_than_workers_could_hear(redis_url: str) -> None:
    """API processes and sweeps ring at once; look and send are one for all of them."""
    bells = [Doorbell(redis_url, most_rings=lambda _: 2) for _ in range(6)]
    for _ in range(8):
        for bell in bells:
            bell.ring("compute")
    until(lambda: all(bell.state().rung + bell.state().dropped == 8 for bell in bells))
    with redis.Redis(unix_socket_path=redis_url.removeprefix("redis+socket://")) as client:
        assert client.llen("spikebit:compute") == 2
        assert client.keys("*.ringing") == []
    assert sum(bell.state().rung for bell in bells) == 2
    for bell in bells:
        bell.close()


def test_a_killed_worker_loses_nothing(bench: Bench) -> None:
    undisturbed = bench.submit(epochs=6)
    identity = bench.submit(epochs=6, epoch_s=0.5)
    with bench.worker() as first:
        bench.wait(undisturbed, "succeeded")
        child = bench.child_pid(identity)
        until(lambda: len(bench.events(identity, "checkpoint")) >= 2)
        first.kill()
        first.wait()
        until(lambda: gone(child), 5)
    with bench.worker():
        job = bench.wait(identity, "succeeded", "failed")
    assert job.status == "succeeded"
    assert [(attempt.outcome, attempt.code) for attempt in job.attempts] == [
        ("lost", "worker_lost"),
        ("succeeded", None),
    ]
    digests = [{a.path: a.digest for a in list_artifacts(bench.tenant, one)} for one in (undisturbed, identity)]
    assert digests[0] == digests[1]
    assert list(bench.settings.temporary.glob("worker-*/attempt-*")) == []


def test_a_terminated_worker_releases_its_job_at_once(bench: Bench) -> None:
    identity = bench.submit(epochs=200, epoch_s=0.2)
    with bench.worker() as process:
        child = bench.child_pid(identity)
        begun = time.monotonic()
        process.terminate()
        assert process.wait(10) == 0
        assert time.monotonic() - begun < 6
    assert gone(child)
    job = bench.job(identity)
    assert (job.status, job.attempts[0].outcome) == ("queued", "released")
    assert list(bench.settings.temporary.glob("worker-*")) == []


def test_the_bell_wakes_a_worker_and_its_end_does_not_stop_one(
    make_bench: Callable[..., Bench], redis_url: str, tmp_path: Path
) -> None:
    bench = make_bench(redis_url=redis_url, look_s=60.0, sweep_s=60.0)
    bell = Doorbell(redis_url)
    with bench.worker() as process:
        bench.wait(bench.submit(epochs=1), "succeeded")  # its first look
        time.sleep(2.0)  # Celery has connected, the looker waits for its bell
        begun = time.monotonic()
        identity = bench.submit(epochs=1)
        bell.ring("compute", identity)
        bench.wait(identity, "succeeded")
        assert time.monotonic() - begun < 10  # looking by itself would have taken up to a minute
        process.terminate()
        assert process.wait(15) == 0
    bell.close()


def test_a_worker_without_a_broker_that_answers(make_bench: Callable[..., Bench]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        bench = make_bench(redis_url=f"redis://127.0.0.1:{unused.getsockname()[1]}/0")
        with bench.worker() as process:
            bench.wait(bench.submit(epochs=1), "succeeded")
            process.terminate()
            assert process.wait(15) == 0


def test_a_child_ends_with_its_supervisor(bench: Bench) -> None:
    identity = bench.submit(epochs=200, epoch_s=0.2)
    with bench.worker() as process:
        child = bench.child_pid(identity)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        until(lambda: gone(child), 5)


@pytest.mark.parametrize("job_class", ["compute", "intake"])
def test_a_worker_leaves_torch_to_its_children(bench: Bench, job_class: str) -> None:
    with bench.worker("compute"), bench.worker(job_class) as process:
        bench.wait(bench.submit(epochs=1), "succeeded")
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        assert "python" in maps
        assert "libtorch" not in maps
