from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobs.database import Database
from jobs.store import (
    Conflict,
    NewArtifact,
    NotFound,
    Problem,
    Tenant,
    cancel_job,
    checkpoint,
    claim_job,
    confirm_cancelled,
    delete_job,
    fail,
    get_job,
    heartbeat,
    hold_blob,
    list_artifacts,
    list_events,
    log,
    progress,
    publish,
    release,
    sweep,
)
from tests.jobs.make import DATA_BLOB, OTHER_BLOB, claimed, queued


@pytest.fixture(autouse=True)
def _stored(tenant: Tenant) -> None:
    """What these tests publish and keep as checkpoints."""
    hold_blob(tenant, OTHER_BLOB, 3)


REPORT = NewArtifact("report-json", "report.json", OTHER_BLOB, 3, "application/json")


def test_claims_by_priority_then_age(tenant: Tenant) -> None:
    low, high, low_later = queued(tenant), queued(tenant, priority=5), queued(tenant)
    assert [claimed(tenant).job_id for _ in range(3)] == [high, low, low_later]
    assert claim_job(tenant.database, "compute", "w", 60) is None


def test_a_class_claims_its_own_jobs_only(tenant: Tenant) -> None:
    queued(tenant, job_class="cuda")
    assert claim_job(tenant.database, "compute", "w", 60) is None
    assert claim_job(tenant.database, "cuda", "w", 60) is not None


def test_concurrent_claims_take_every_job_once(tenant: Tenant) -> None:
    jobs = {queued(tenant) for _ in range(24)}
    start = threading.Barrier(8)

    def drain(name: int) -> list[str]:
        start.wait()
        taken = []
        while (claim := claim_job(tenant.database, "compute", f"w{name}", 60)) is not None:
            taken.append(claim.job_id)
        return taken

    with ThreadPoolExecutor(8) as pool:
        taken = [job for part in pool.map(drain, range(8)) for job in part]
    assert len(taken) == 24
    assert set(taken) == jobs


def test_a_swept_worker_writes_nothing(tenant: Tenant, database: Database) -> None:
    job = queued(tenant)
    stale = claimed(tenant, lease_s=0.01)
    time.sleep(0.05)
    assert sweep(database, max_attempts=3).requeued == [job]
    fresh = claimed(tenant)
    assert fresh.token == stale.token + 1
    before = get_job(tenant, job)

    assert not heartbeat(database, stale, 60).held
    assert not progress(database, stale, "train", 1, 2)
    assert not log(database, stale, "still here", 100)
    assert not checkpoint(database, stale, OTHER_BLOB, 3)
    assert publish(database, stale, [REPORT], "pass") == "lost"
    assert fail(database, stale, Problem("x", "x")) == "lost"
    assert confirm_cancelled(database, stale) == "lost"
    assert release(database, stale) == "lost"

    assert get_job(tenant, job) == before
    assert list_artifacts(tenant, job) == []
    assert publish(database, fresh, [REPORT], "pass") == "published"
    assert [a.outcome for a in get_job(tenant, job).attempts] == ["lost", "succeeded"]


def test_a_terminal_state_never_changes(tenant: Tenant, database: Database) -> None:
    job = queued(tenant)
    claim = claimed(tenant)
    assert publish(database, claim, [REPORT], "fail") == "published"
    ended = get_job(tenant, job)
    assert (ended.status, ended.verdict, ended.terminal) == ("succeeded", "fail", True)
    assert publish(database, claim, [REPORT], "pass") == "lost"
    assert fail(database, claim, Problem("x", "x")) == "lost"
    assert not heartbeat(database, claim, 60).held
    with pytest.raises(Conflict, match="has ended as 'succeeded'"):
        cancel_job(tenant, job)
    sweep(database, max_attempts=1)
    assert get_job(tenant, job) == ended


def test_cancel_before_publish_wins(tenant: Tenant, database: Database) -> None:
    job = queued(tenant)
    claim = claimed(tenant)
    assert cancel_job(tenant, job).status == "cancelling"
    assert heartbeat(database, claim, 60).cancel
    assert publish(database, claim, [REPORT], "pass") == "cancelled"
    assert get_job(tenant, job).status == "cancelled"
    assert list_artifacts(tenant, job) == []
    assert cancel_job(tenant, job).status == "cancelled"  # again is harmless


def test_cancel_against_publish_has_one_winner(tenant: Tenant, database: Database) -> None:
    for _ in range(6):
        job = queued(tenant)
        claim = claimed(tenant)
        start = threading.Barrier(2)

        def cancel(job: str = job, start: threading.Barrier = start) -> str:
            start.wait()
            try:
                return cancel_job(tenant, job).status
            except Conflict:
                return "too late"

        with ThreadPoolExecutor(1) as pool:
            cancelled = pool.submit(cancel)
            start.wait()
            ending = publish(database, claim, [REPORT], "pass")
            told = cancelled.result()
        status = get_job(tenant, job).status
        if ending == "published":
            assert (status, told, len(list_artifacts(tenant, job))) == ("succeeded", "too late", 1)
        else:
            assert (ending, status, told, list_artifacts(tenant, job)) == ("cancelled", "cancelled", "cancelling", [])


def test_a_queued_job_is_cancelled_at_once(tenant: Tenant) -> None:
    job = queued(tenant)
    assert cancel_job(tenant, job).status == "cancelled"
    assert claim_job(tenant.database, "compute", "w", 60) is None


def test_crashes_are_retried_up_to_the_limit(tenant: Tenant, database: Database) -> None:
    job = queued(tenant)
    problem = Problem("child_died", "signal 9")
    assert fail(database, claimed(tenant), problem, retry_up_to=2) == "requeued"
    assert fail(database, claimed(tenant), problem, retry_up_to=2) == "failed"
    view = get_job(tenant, job)
    assert view.problem == {"code": "child_died", "detail": "signal 9", "pointer": None}
    assert [a.number for a in view.attempts] == [1, 2]


def test_a_deterministic_error_fails_at_once(tenant: Tenant, database: Database) -> None:
    job = queued(tenant)
    assert fail(database, claimed(tenant), Problem("expectation_missed", "0.5 < 0.9", "/expect")) == "failed"
    assert get_job(tenant, job).status == "failed"


def test_release_counts_no_crash(tenant: Tenant, database: Database) -> None:
    job = queued(tenant)
    for _ in range(5):
        assert release(database, claimed(tenant)) == "requeued"
    assert sweep(database, max_attempts=1).lost == []
    assert get_job(tenant, job).status == "queued"


def test_sweep_gives_up_with_worker_lost(tenant: Tenant, database: Database) -> None:
    job = queued(tenant)
    for last in (False, False, True):
        claimed(tenant, lease_s=0.01)
        time.sleep(0.03)
        swept = sweep(database, max_attempts=3)
        assert (swept.lost if last else swept.requeued) == [job]
    view = get_job(tenant, job)
    assert (view.status, view.problem and view.problem["code"]) == ("failed", "worker_lost")


def test_sweep_ends_a_cancelling_job_whose_worker_died(tenant: Tenant, database: Database) -> None:
    job = queued(tenant)
    claimed(tenant, lease_s=0.01)
    cancel_job(tenant, job)
    time.sleep(0.03)
    assert sweep(database, max_attempts=3).cancelled == [job]
    assert get_job(tenant, job).status == "cancelled"


def test_a_heartbeat_keeps_the_lease(tenant: Tenant, database: Database) -> None:
    queued(tenant)
    claim = claimed(tenant, lease_s=0.01)
    assert heartbeat(database, claim, 60).held
    time.sleep(0.03)
    assert sweep(database, max_attempts=3).requeued == []


def test_queue_deadline_counts_before_the_first_attempt_only(tenant: Tenant, database: Database) -> None:
    late = queued(tenant, queue_deadline_s=0.01)
    time.sleep(0.03)
    assert claim_job(database, "compute", "w", 60) is None
    assert sweep(database, max_attempts=3).expired == [late]
    assert get_job(tenant, late).status == "expired"
    started = queued(tenant, queue_deadline_s=0.5)
    release(database, claimed(tenant))
    time.sleep(0.55)
    assert sweep(database, max_attempts=3).expired == []
    assert claimed(tenant).job_id == started


def test_checkpoints_pass_to_the_next_attempt(tenant: Tenant, database: Database) -> None:
    queued(tenant, run_deadline_s=100)
    first = claimed(tenant)
    assert first.checkpoint is None
    assert checkpoint(database, first, DATA_BLOB, 1)
    assert checkpoint(database, first, OTHER_BLOB, 2)
    time.sleep(0.02)
    release(database, first)
    second = claimed(tenant)
    assert second.checkpoint is not None
    assert (second.checkpoint.number, second.checkpoint.attempt, second.checkpoint.digest) == (2, 1, OTHER_BLOB)
    assert second.run_seconds_left is not None
    assert 50 < second.run_seconds_left < 100


def test_events_have_no_gaps(tenant: Tenant, database: Database) -> None:
    job = queued(tenant)
    claim = claimed(tenant)
    with ThreadPoolExecutor(4) as pool:
        for done in pool.map(lambda i: progress(database, claim, "train", i, 20, metrics={"loss": 0.5}), range(20)):
            assert done
    for line in range(5):
        log(database, claim, f"line {line}", keep=3)
    publish(database, claim, [], "none")
    events = list_events(tenant, job, 0, 1000)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.kind for event in events].count("log") == 3
    assert events[-1].data["status"] == "succeeded"
    assert list_events(tenant, job, len(events) - 1, 10) == events[-1:]


def test_delete_needs_a_terminal_state(tenant: Tenant, database: Database) -> None:
    job = queued(tenant)
    with pytest.raises(Conflict, match="cancel it"):
        delete_job(tenant, job)
    cancel_job(tenant, job)
    delete_job(tenant, job)
    with pytest.raises(NotFound):
        get_job(tenant, job)


def test_another_tenant_sees_nothing(tenant: Tenant, database: Database) -> None:
    job = queued(tenant)
    stranger = Tenant(database, "stranger")
    for ask in (get_job, cancel_job, delete_job, list_artifacts):
        with pytest.raises(NotFound):
            ask(stranger, job)  # type: ignore[operator]
