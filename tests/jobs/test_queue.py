from __future__ import annotations

import time
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from jobs.queue import CLASSES, RING_TASK, Doorbell, make_app
from jobs.settings import Settings


def test_no_bell_is_silent() -> None:
    bell = Doorbell(None)
    bell.ring("compute")
    assert not bell.state().ok
    bell.close()


def test_a_dead_redis_costs_the_caller_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    bell = Doorbell(f"redis+socket://{tmp_path_factory.mktemp('r')}/none.sock")
    began = time.perf_counter()
    for _ in range(200):
        bell.ring("compute", "job_1")
    assert time.perf_counter() - began < 0.2
    until = time.monotonic() + 5
    while not bell.state().failed and time.monotonic() < until:
        time.sleep(0.01)
    assert bell.state().failed >= 1
    assert not bell.state().ok
    bell.close()
    bell.ring("compute")  # after the end: still no error


def test_rings_name_class_and_job() -> None:
    sent = []

    class App:
        pool = SimpleNamespace(acquire=lambda **_: nullcontext(SimpleNamespace(default_channel=None)))

        def send_task(self, name: str, **options: object) -> None:
            sent.append((name, options["args"], options["queue"]))

    bell = Doorbell("redis://nowhere", App())  # type: ignore[arg-type]
    bell.ring("intake")
    bell.ring("compute", "job_1")
    until = time.monotonic() + 5
    while len(sent) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert sent == [(RING_TASK, ["intake", None], "intake"), (RING_TASK, ["compute", "job_1"], "compute")]
    assert bell.state().rung == 2
    bell.close()


def test_celery_is_a_doorbell_only() -> None:
    conf = make_app("redis://localhost").conf
    assert conf.accept_content == ["json"]
    assert conf.task_ignore_result is True
    assert conf.result_backend is None
    assert [queue.name for queue in conf.task_queues] == list(CLASSES)


def test_settings_refuse_a_lease_shorter_than_two_beats() -> None:
    with pytest.raises(ValidationError, match="at least twice"):
        Settings(lease_s=10, heartbeat_s=8)


def test_no_more_rings_wait_than_workers_could_hear() -> None:
    in_redis: list[str] = []
    client = SimpleNamespace(llen=lambda queue: len(in_redis), set=lambda *_, **__: True, delete=lambda _: 1)

    class App:
        pool = SimpleNamespace(
            acquire=lambda **_: nullcontext(SimpleNamespace(default_channel=SimpleNamespace(client=client)))
        )

        def send_task(self, name: str, **options: object) -> None:
            in_redis.append(name)

    bell = Doorbell("redis://nowhere", App(), most_rings=lambda job_class: 3)  # type: ignore[arg-type]
    for _ in range(50):
        bell.ring("compute")
        time.sleep(0.001)
    bell.close()
    assert len(in_redis) <= 3
    assert bell.state().rung == len(in_redis)
