"""One attempt and every way in which it can end; real children, a fake engine."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from jobs.store import cancel_job, claims, endings, get_artifact, list_artifacts, sweep
from tests.worker.harness import HERE, Bench, gone, until
from worker.process import ChildCommand, WarmPool
from worker.supervisor import JobSupervisor
from worker.workspace import Workspace


class Desk:
    """A supervisor in this process: run in the test's own thread, or aside."""

    def __init__(self, bench: Bench, warm: bool = False) -> None:
        self.stopping = threading.Event()
        command = ChildCommand(bench.settings.child_engine, extra_path=(str(HERE),))
        self.pool = WarmPool(command, enabled=warm)
        self.workspace = Workspace(bench.settings.temporary)
        self.supervisor = JobSupervisor(bench.service, self.workspace, self.pool, self.stopping)

    def run_next(self) -> bool:
        claim = self.supervisor.claim()
        if claim is not None:
            self.supervisor.run(claim)
        return claim is not None

    @contextmanager
    def aside(self) -> Iterator[threading.Thread]:
        thread = threading.Thread(target=self.run_next)
        thread.start()
        yield thread
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def desk(bench: Bench) -> Iterator[Desk]:
    made = Desk(bench)
    yield made
    made.pool.close()
    made.workspace.close()


def test_a_job_is_run_and_published(bench: Bench, desk: Desk) -> None:
    identity = bench.submit(mode="chatter", epochs=4, verdict="pass")
    assert desk.run_next()
    assert not desk.run_next()
    job = bench.job(identity)
    assert (job.status, job.verdict, job.problem) == ("succeeded", "pass", None)
    assert job.progress is not None
    assert (job.progress["stage"], job.progress["done"], job.progress["total"]) == ("finetune", 4, 4)
    assert [attempt.outcome for attempt in job.attempts] == ["succeeded"]
    artifacts = {view.role: view for view in list_artifacts(bench.tenant, identity)}
    assert artifacts["program-payload"].path == "program/payload.bin"
    report = get_artifact(bench.tenant, artifacts["report-json"].id)
    assert "value" in json.loads(bench.service.blobs.read("default", report.digest))
    assert len(bench.events(identity, "checkpoint")) == 4
    assert list(desk.workspace.path.glob("attempt-*")) == []


def test_the_child_has_no_network_no_settings_and_a_folder_of_its_own(bench: Bench, desk: Desk) -> None:
    identity = bench.submit(mode="network")
    desk.run_next()
    problem = bench.job(identity).problem
    assert problem is not None
    assert problem["code"] == "seen"
    seen = json.loads(problem["detail"])
    assert seen["environment"] == []
    assert seen["cwd"].startswith(str(desk.workspace.path))
    notes = [data["message"] for data in bench.events(identity, "log")]
    assert set(seen["interfaces"]) <= {"lo"} or any("network isolation is not available" in note for note in notes)


@pytest.mark.parametrize(
    ("mode", "code", "detail", "pointer"),
    [
        ("refuse", "expectation_missed", "expected 0.9, found 0.8", "/expect"),
        ("bug", "internal_error", "KeyError: 'a bug'", None),
    ],
)
def test_a_deterministic_error_is_not_tried_again(
    bench: Bench, desk: Desk, mode: str, code: str, detail: str, pointer: str | None
) -> None:
    identity = bench.submit(mode=mode)
    assert desk.run_next()
    assert not desk.run_next()
    job = bench.job(identity)
    assert job.status == "failed"
    assert job.problem == {"code": code, "detail": detail, "pointer": pointer}
    traced = any("Traceback" in data["message"] for data in bench.events(identity, "log"))
    assert traced == (mode == "bug")


@pytest.mark.parametrize(
    ("orders", "code", "detail"),
    [
        ({"mode": "die", "status": 5}, "worker_lost", r"status 5"),
        ({"mode": "die", "status": 137}, "out_of_memory", r"memory"),
        ({"mode": "rubbish"}, "worker_lost", r"not a message of a child: b'rubbish"),
        ({"artifact": "../../outside"}, "worker_lost", r"relative path below out/"),
        ({"mode": "chatter", "artifact": "link"}, "worker_lost", r"a file below the attempt's folder"),
        ({"artifact": "absent.json"}, "worker_lost", r"No such file"),
    ],
)
def test_a_crash_is_tried_three_times(bench: Bench, desk: Desk, orders: dict[str, Any], code: str, detail: str) -> None:
    identity = bench.submit(**orders)
    for _ in range(2):
        assert desk.run_next()
        assert bench.job(identity).status == "queued"
    assert desk.run_next()
    assert not desk.run_next()
    job = bench.job(identity)
    assert job.status == "failed"
    assert job.problem is not None
    assert job.problem["code"] == code
    assert detail in job.problem["detail"]
    assert [attempt.code for attempt in job.attempts] == [code] * 3
    assert list_artifacts(bench.tenant, identity) == []


def test_a_child_that_wants_too_much_memory(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(child_memory_bytes=2 << 30, max_attempts=1)
    desk = Desk(bench)
    identity = bench.submit(mode="memory", bytes=4 << 30)
    desk.run_next()
    job = bench.job(identity)
    desk.workspace.close()
    assert job.problem is not None
    assert job.problem["code"] == "out_of_memory"


def test_a_killed_child_resumes_from_its_checkpoint(bench: Bench, desk: Desk) -> None:
    undisturbed = bench.submit(epochs=6)
    desk.run_next()
    identity = bench.submit(epochs=6, epoch_s=0.3)
    with desk.aside():
        pid = bench.child_pid(identity)
        until(lambda: len(bench.events(identity, "checkpoint")) >= 2)
        os.kill(pid, signal.SIGKILL)
    job = bench.job(identity)
    assert (job.status, job.attempts[0].code) == ("queued", "worker_lost")
    assert desk.run_next()
    assert bench.job(identity).status == "succeeded"
    begins = [line["message"].split()[-1] for line in bench.events(identity, "log") if "begins" in line["message"]]
    assert begins[0] == "0"
    assert int(begins[1]) >= 2
    digests = [{a.path: a.digest for a in list_artifacts(bench.tenant, job)} for job in (undisturbed, identity)]
    assert digests[0] == digests[1]


def test_cancel_ends_the_child(bench: Bench, desk: Desk) -> None:
    identity = bench.submit(epochs=100, epoch_s=0.2)
    with desk.aside():
        pid = bench.child_pid(identity)
        cancel_job(bench.tenant, identity)
    assert gone(pid)
    job = bench.job(identity)
    assert (job.status, job.attempts[0].outcome) == ("cancelled", "cancelled")


def test_the_run_deadline_ends_the_child(bench: Bench, desk: Desk) -> None:
    identity = bench.submit(run_deadline_s=6.0, epochs=100, epoch_s=0.2)
    with desk.aside():
        pid = bench.child_pid(identity)
    assert gone(pid)
    job = bench.job(identity)
    assert job.status == "failed"
    assert job.problem is not None
    assert job.problem["code"] == "run_deadline"


def test_a_stopped_worker_gives_its_job_back_without_a_crash(bench: Bench, desk: Desk) -> None:
    identity = bench.submit(epochs=5, epoch_s=0.2)
    for _ in range(4):  # more often than crashes are allowed
        with desk.aside():
            bench.child_pid(identity)
            desk.stopping.set()
        job = bench.job(identity)
        assert (job.status, job.attempts[-1].outcome) == ("queued", "released")
        desk.stopping.clear()
    desk.run_next()
    assert bench.job(identity).status == "succeeded"


def test_a_lost_lease_kills_the_child_and_writes_nothing(bench: Bench, desk: Desk) -> None:
    identity = bench.submit(epochs=100, epoch_s=0.1)
    with desk.aside():
        pid = bench.child_pid(identity)
        # another worker takes over, as after a long pause of this one
        with bench.service.database.write() as session:
            session.connection().exec_driver_sql("UPDATE jobs SET lease_until = '2000-01-01 00:00:00.000000'")
        sweep(bench.service.database, max_attempts=3)
        other = claims.claim_job(bench.service.database, "compute", "other", 60)
        assert other is not None
        seen = bench.job(identity).event_seq
    assert gone(pid)
    job = bench.job(identity)
    assert (job.status, job.event_seq) == ("running", seen)
    assert [attempt.outcome for attempt in job.attempts] == ["lost", None]


def test_a_warm_child_is_started_again_after_each_job(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    desk = Desk(bench, warm=True)
    desk.supervisor.begin()
    warm = desk.pool._spare
    assert warm is not None
    identity = bench.submit(epochs=1)
    desk.run_next()
    assert bench.child_pid(identity) == warm.pid
    assert desk.pool._spare is not None
    assert desk.pool._spare.pid != warm.pid
    spare = desk.pool._spare
    desk.supervisor.end()
    desk.workspace.close()
    assert gone(spare.pid)


def test_a_database_that_is_away_for_a_moment_costs_nothing(
    bench: Bench, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = {"progress": 2, "log": 1, "checkpoint": 1, "publish": 1}

    def sometimes(module: ModuleType, name: str) -> None:
        real = getattr(module, name)

        def call(*arguments: Any) -> Any:
            away[name] -= 1
            if away[name] >= 0:
                raise OperationalError("statement", {}, Exception("server closed the connection"))
            return real(*arguments)

        monkeypatch.setattr(module, name, call)

    for name in ("progress", "log", "checkpoint"):
        sometimes(claims, name)
    sometimes(endings, "publish")
    identity = bench.submit(epochs=3)
    desk.run_next()
    job = bench.job(identity)
    assert (job.status, len(job.attempts)) == ("succeeded", 1)
    assert len(bench.events(identity, "checkpoint")) == 3
    assert all(left <= 0 for left in away.values())
