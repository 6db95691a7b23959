"""Cancel within seconds, drains, devices, traces, full disks and the register, with real children."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.records import Job
from jobs.store import cancel_job, drain, list_artifacts, list_workers, resume, worker_counts
from tests.worker.harness import Bench, until
from tests.worker.test_supervisor import Desk
from worker.progress import StepProgress
from worker.sweeper import Sweeper


@pytest.fixture
def desk(bench: Bench) -> Iterator[Desk]:
    made = Desk(bench)
    yield made
    made.pool.close()
    made.workspace.close()


def test_a_cancel_is_seen_between_two_beats(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(heartbeat_s=60, lease_s=200)
    desk = Desk(bench)
    identity = bench.submit(epochs=1000, epoch_s=0.05)
    with desk.aside():
        bench.child_pid(identity)
        begun = time.monotonic()
        cancel_job(bench.tenant, identity)
        bench.wait(identity, "cancelled")
        assert time.monotonic() - begun < 5, "no beat came in a minute: a look did it"
    desk.pool.close()
    desk.workspace.close()


def test_a_draining_worker_hands_back_at_the_next_checkpoint(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(drain_s=20)
    desk = Desk(bench)
    identity = bench.submit(epochs=4, epoch_s=0.4)
    with desk.aside():
        until(lambda: bench.events(identity, "checkpoint"))
        before = len(bench.events(identity, "checkpoint"))
        desk.stopping.set()
    job = bench.job(identity)
    assert (job.status, job.attempts[0].outcome, job.attempts[0].code) == ("queued", "released", "worker_stopped")
    assert len(bench.events(identity, "checkpoint")) == before + 1, "it waited for one checkpoint, and not for the end"
    desk.stopping.clear()
    assert desk.run_next()
    begins = [event["message"] for event in bench.events(identity, "log") if "begins at epoch" in event["message"]]
    assert begins[-1].endswith(f"epoch {before + 1}"), "no epoch is done twice"
    desk.pool.close()
    desk.workspace.close()


def test_an_operator_drains_a_worker_and_lets_it_go_on(bench: Bench, desk: Desk) -> None:
    identity = bench.submit(epochs=1000, epoch_s=0.05)
    with desk.aside():
        bench.child_pid(identity)
        drain(bench.service.database, "*")
    assert bench.job(identity).status == "queued"
    assert desk.supervisor.claim() is None
    resume(bench.service.database, "*")
    assert desk.supervisor.claim() is not None


def test_what_a_worker_did_is_counted_and_survives_it(bench: Bench, desk: Desk) -> None:
    for _ in range(2):
        bench.submit(epochs=1)
        assert desk.run_next()
    sweeper = Sweeper(bench.service, desk.stopping, desk.stopping, lambda: "job_x")
    sweeper.report()
    found = list_workers(bench.service.database, 60)
    assert [(worker.job_class, worker.state, worker.job_id) for worker in found] == [("compute", "busy", "job_x")]
    counts = worker_counts(bench.service.database)
    assert counts["attempts:compute:published"] == 2
    assert counts["claim_latency:count"] == 2
    assert counts["bytes_published"] > 0


def test_a_worker_process_registers_and_leaves(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    with bench.worker() as process:
        found = until(lambda: list_workers(bench.service.database, 60))
        assert found[0].state == "idle"
        assert str(process.pid) in found[0].name
    assert list_workers(bench.service.database, 60) == []


def test_a_worker_that_is_stopped_while_celery_starts_leaves_too(make_bench: Callable[..., Bench]) -> None:
    """Its broker does not answer, so Celery is still waiting for it when SIGTERM comes."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        bench = make_bench(redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        with bench.worker() as process:
            until(lambda: list_workers(bench.service.database, 60))
            process.terminate()
            assert process.wait(60) == 0
    assert list_workers(bench.service.database, 60) == []


def test_progress_says_step_and_time_left(bench: Bench, desk: Desk) -> None:
    identity = bench.submit(epochs=5, epoch_s=0.1)
    desk.run_next()
    shown = [event for event in bench.events(identity, "progress") if event["stage"] == "finetune"]
    assert shown[0]["steps"] == 1, "the fake engine's job has one step: evaluate"
    assert shown[0]["eta_s"] is None
    assert any(event["eta_s"] is not None and 0 <= event["eta_s"] < 5 for event in shown[1:])


def test_steps_are_found_by_their_stages() -> None:
    kinds = ["evaluate", "sensitivity", "allocate", "finetune", "integerize", "evaluate"]
    steps = StepProgress(kinds, now=iter(range(100)).__next__)
    seen = [steps.place(stage, 0, 1)["step"] for stage in ("evaluate", "sensitivity:ggn", "finetune:quantized")]
    assert seen == [1, 2, 4]
    steps.begin_step(5)
    assert steps.place("evaluate", 1, 2) == {"step": 6, "steps": 6, "step_kind": "evaluate", "eta_s": None}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("a small file system needs mount and root")
    made = subprocess.run(("mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place), check=False, capture_output=True)
    if made.returncode:
        pytest.skip(f"no small file system here: {made.stderr.decode().strip()}")
    yield place
    subprocess.run(("umount", "-l", place), check=True)


def test_a_full_store_is_a_clear_failure_and_nothing_is_half_published(
    bench: Bench, desk: Desk, small_disk: Path
) -> None:
    """The blobs' file system fills up in mid-attempt; every attempt ends alike, and the job says why."""
    identity = bench.submit(epochs=1)
    shutil.copytree(bench.settings.blobs_folder, small_disk, dirs_exist_ok=True)
    folder = bench.settings.blobs_folder
    subprocess.run(("mount", "--bind", small_disk, folder), check=True)
    try:
        bench.service.blobs.temporary = folder / "t"  # where a blob is written first, on the same disk
        filler = folder / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        for _ in range(bench.settings.max_attempts):
            assert desk.run_next()
        job = bench.job(identity)
        assert job.status == "failed"
        assert job.problem is not None
        assert job.problem["code"] == "storage_full"
        assert "No space left" in job.problem["detail"]
        assert [attempt.code for attempt in job.attempts] == ["storage_full"] * 3
        assert list_artifacts(bench.tenant, identity) == []
        filler.unlink()
        again = bench.submit(epochs=1)
        desk.run_next()
        assert bench.job(again).status == "succeeded"
    finally:
        subprocess.run(("umount", "-l", folder), check=True)


def test_the_trace_reaches_the_child_and_a_device_belongs_to_one_worker(bench: Bench, desk: Desk) -> None:
    identity = bench.submit(mode="network")
    with bench.service.database.write() as session:
        session.get_one(Job, ("default", identity)).trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    desk.run_next()
    problem = bench.job(identity).problem
    assert problem is not None
    seen = json.loads(problem["detail"])
    assert seen["trace"].split("-")[1] == "a" * 32
    assert seen["trace"].split("-")[2] != "b" * 16, "the child's own span"
