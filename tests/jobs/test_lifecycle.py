"""Retry by cause, labels, expiry, cancel without a worker, drains and the register of workers."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, update

from jobs.blobs import Blobs
from jobs.clock import CLOCK_VARIABLE
from jobs.database import Database
from jobs.records import Artifact, Job, Model
from jobs.store import (
    BlobGone,
    Conflict,
    JobFilter,
    Keep,
    NewArtifact,
    NotFound,
    Page,
    Problem,
    Tenant,
    WorkerReport,
    acquire_lease,
    cancel_job,
    checkpoint,
    claim_job,
    claims,
    drain,
    end_cancelled,
    expire,
    fail,
    forget_dead_workers,
    forget_worker,
    get_artifact,
    get_job,
    get_upload,
    heartbeat,
    list_artifacts,
    list_drains,
    list_events,
    list_jobs,
    list_workers,
    look,
    publish,
    queue_lines,
    release,
    report_worker,
    requeue_job,
    resume,
    sweep,
    waiting,
    worker_counts,
)
from tests.jobs.make import claimed, queued, ready_inputs

PAST = datetime.now(UTC) - timedelta(days=30)


def test_a_lack_of_memory_waits_before_it_is_tried_again(tenant: Tenant, database: Database) -> None:
    job = queued(tenant)
    problem = Problem("out_of_memory", "no more")
    assert fail(database, claimed(tenant), problem, retry_up_to=5, pause_s=100) == "requeued"
    assert 50 < pause_of(tenant, job) < 100
    assert waiting(database) == {}, "a job that may not be claimed yet rings nobody"
    assert claim_job(database, "compute", "w", 60) is None
    with database.write() as session:
        session.execute(update(Job).values(not_before=database.now(session), queued_at=PAST))
    second = claimed(tenant)
    assert second.waited_s < 60, "the pause is no waiting"
    fail(database, second, problem, retry_up_to=5, pause_s=100)
    assert pause_of(tenant, job) > 100, "the second pause is twice as long"


def pause_of(tenant: Tenant, job: str) -> float:
    """Seconds until the job may be claimed."""
    at = get_job(tenant, job).not_before
    assert at is not None
    return (at - datetime.now(UTC)).total_seconds()


def test_a_priority_whose_jobs_all_pause_hides_no_other(tenant: Tenant, database: Database) -> None:
    high = queued(tenant, priority=9)
    fail(database, claimed(tenant), Problem("storage_full", "full"), retry_up_to=3, pause_s=60)
    low = queued(tenant, priority=-3)
    assert claimed(tenant).job_id == low
    assert claim_job(database, "compute", "w", 60) is None
    assert get_job(tenant, high).status == "queued"


def test_labels_find_jobs(tenant: Tenant) -> None:
    first = queued(tenant, labels={"team": "vision", "run": "7"})
    queued(tenant, labels={"team": "audio"})
    queued(tenant)

    def found(**labels: str) -> list[str]:
        return [view.id for view in list_jobs(tenant, Page(10), JobFilter(labels=labels))]

    assert found(team="vision") == found(team="vision", run="7") == [first]
    assert found(team="vision", run="8") == found(run="9") == []
    assert get_job(tenant, first).labels == {"team": "vision", "run": "7"}
    assert list_jobs(Tenant(tenant.database, "stranger"), Page(10), JobFilter(labels={"team": "vision"})) == []


def test_a_dead_worker_cannot_hold_a_cancel_back(
    tenant: Tenant, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.store.jobs.CANCEL_WITHIN_S", 0.05)
    job = queued(tenant)
    claim = claimed(tenant, lease_s=3600)
    assert end_cancelled(database) == []
    assert not look(database, claim).cancel
    cancel_job(tenant, job)
    assert look(database, claim).cancel
    assert heartbeat(database, claim, 3600).cancel, "and the beat does not prolong the lease"
    time.sleep(0.1)
    assert end_cancelled(database) == [job]
    view = get_job(tenant, job)
    assert (view.status, view.attempts[0].outcome, view.attempts[0].code) == ("cancelled", "lost", "worker_lost")
    assert publish(database, claim, [], "none") == "lost"


def test_ended_jobs_expire_with_all_they_left(tenant: Tenant, database: Database, blobs: Blobs) -> None:
    old, new, active = queued(tenant, labels={"a": "b"}), queued(tenant), queued(tenant)
    for number in range(2):
        digest = blobs.put_bytes("default", b"result %d" % number).digest
        publish(database, claimed(tenant), [NewArtifact("plan", "plan.json", digest, 6, "application/json")], "none")
    with database.write() as session:
        session.execute(update(Job).where(Job.id.in_((old, active))).values(created_at=PAST))
        session.execute(update(Job).where(Job.id == old).values(finished_at=PAST))
    assert expire(database, Keep()).jobs == 0
    assert expire(database, Keep(jobs_s=3600)).jobs == 1
    with pytest.raises(NotFound):
        get_job(tenant, old)
    assert get_job(tenant, new).status == "succeeded"
    assert get_job(tenant, active).status == "queued"
    assert list_jobs(tenant, Page(10), JobFilter(labels={"a": "b"})) == []
    assert blobs.collect(older_than_s=-1) == 1, "the file of the job that went; the other job's stays"
    assert blobs.exists("default", list_artifacts(tenant, new)[0].digest)


def test_published_files_expire_and_say_so(tenant: Tenant, database: Database, blobs: Blobs) -> None:
    job = queued(tenant)
    digest = blobs.put_bytes("default", b"program").digest
    publish(database, claimed(tenant), [NewArtifact("plan", "plan.json", digest, 7, "application/json")], "none")
    assert expire(database, Keep(artifacts_s=3600)).artifacts == 0
    with database.write() as session:
        session.execute(update(Job).where(Job.id == job).values(finished_at=PAST))
    assert expire(database, Keep(artifacts_s=3600)).artifacts == 1
    assert expire(database, Keep(artifacts_s=3600)).artifacts == 0
    row = list_artifacts(tenant, job)[0]
    assert row.expired_at is not None
    assert get_artifact(tenant, row.id).digest == digest
    blobs.collect(older_than_s=-1)
    assert not blobs.exists("default", digest)


def test_a_blob_that_two_jobs_published_stays_for_the_younger(tenant: Tenant, database: Database, blobs: Blobs) -> None:
    jobs = [queued(tenant), queued(tenant)]
    digest = blobs.put_bytes("default", b"same").digest
    for _ in jobs:
        publish(database, claimed(tenant), [NewArtifact("plan", "plan.json", digest, 4, "application/json")], "none")
    with database.write() as session:
        session.execute(update(Job).where(Job.id == jobs[0]).values(finished_at=PAST))
    assert expire(database, Keep(artifacts_s=3600)).artifacts == 1
    blobs.collect(older_than_s=-1)
    assert blobs.exists("default", digest)


def test_unused_uploads_expire_but_never_those_of_a_job(tenant: Tenant, database: Database) -> None:
    model, data = ready_inputs(tenant)
    with database.write() as session:
        session.execute(update(Model).values(checked_at=PAST))
    job = queued(tenant)
    with database.write() as session:
        session.execute(update(Job).values(created_at=PAST))
    assert expire(database, Keep(uploads_s=3600)).uploads == 0, "a queued job needs them however old it is"
    cancel_job(tenant, job)
    assert expire(database, Keep(uploads_s=3600)).uploads == 0, "their time runs from the job's end"
    with database.write() as session:
        session.execute(update(Job).values(finished_at=PAST))
    assert expire(database, Keep(uploads_s=3600)).uploads == 1
    with pytest.raises(NotFound):
        get_upload(tenant, "model", model)
    assert get_upload(tenant, "dataset", data).status == "ready", "checked a moment ago"


@pytest.mark.parametrize("scope", ["*", "here", "compute@here:1:abc"])
def test_a_drained_worker_claims_nothing_and_is_told_so(tenant: Tenant, database: Database, scope: str) -> None:
    mine, other = "compute@here:1:abc", "compute@there:1:abc"
    queued(tenant), queued(tenant)
    claim = claim_job(database, "compute", mine, 60)
    assert claim is not None
    drain(database, scope)
    drain(database, scope)
    assert [name for name, _ in list_drains(database)] == [scope]
    assert look(database, claim).drain
    assert heartbeat(database, claim, 60).drain
    assert release(database, claim) == "requeued"
    assert claim_job(database, "compute", mine, 60) is None
    assert (claim_job(database, "compute", other, 60) is None) == (scope == "*")
    assert resume(database, scope)
    assert not resume(database, scope)
    assert claim_job(database, "compute", mine, 60) is not None


def test_the_register_keeps_what_dead_workers_counted(database: Database) -> None:
    def report(name: str, **counts: float) -> None:
        report_worker(database, WorkerReport(name, "compute", "here", None, "1", "idle", None, counts))

    report("a", attempts=2)
    report("a", attempts=3)
    report("b", attempts=4, lost=1)
    report("c", attempts=1)
    assert [worker.name for worker in list_workers(database, 60)] == ["a", "b", "c"]
    forget_worker(database, "c")
    time.sleep(0.05)
    assert forget_dead_workers(database, 60) == []
    assert sorted(forget_dead_workers(database, 0.01)) == ["a", "b"]
    assert list_workers(database, 60) == []
    assert worker_counts(database) == {"attempts": 8, "lost": 1}


def test_an_operator_takes_a_job_back(tenant: Tenant, database: Database) -> None:
    job = queued(tenant)
    with pytest.raises(Conflict, match="no worker holds it"):
        requeue_job(database, "default", job)
    stuck = claimed(tenant)
    with pytest.raises(NotFound):
        requeue_job(database, "stranger", job)
    assert requeue_job(database, "default", job) == "queued"
    assert publish(database, stuck, [], "none") == "lost"
    fresh = claimed(tenant)
    assert fresh.token == 2
    cancel_job(tenant, job)
    assert requeue_job(database, "default", job) == "cancelled"
    assert [attempt.code for attempt in get_job(tenant, job).attempts] == ["requeued", "requeued"]


def test_the_queue_says_how_long_it_is(tenant: Tenant, database: Database) -> None:
    queued(tenant), queued(tenant), queued(tenant, job_class="cuda")
    claimed(tenant)
    with database.write() as session:
        session.execute(update(Job).where(Job.job_class == "cuda").values(queued_at=PAST))
    lines = {(line.job_class, line.status): line for line in queue_lines(database)}
    assert {key: line.number for key, line in lines.items()} == {
        ("compute", "queued"): 1,
        ("compute", "running"): 1,
        ("cuda", "queued"): 1,
    }
    assert lines["cuda", "queued"].oldest_s > 29 * 86_400
    assert lines["compute", "queued"].oldest_s < 60


def test_an_expired_file_is_no_reference(tenant: Tenant, database: Database) -> None:
    """The column exists in the record that listings read, too."""
    with database.read() as session:
        assert session.query(Artifact).filter(Artifact.expired_at.is_not(None)).count() == 0
    assert claims.CANCEL_WITHIN_S + 2 < 15


def test_what_the_collector_took_is_not_referred_to(tenant: Tenant, database: Database, blobs: Blobs) -> None:
    """Between staging and publishing: nothing is written, and the worker stages again."""
    job = queued(tenant)
    claim = claimed(tenant)
    digest = blobs.put_bytes("default", b"staged").digest
    assert blobs.collect(older_than_s=-5) == 1
    files = [NewArtifact("plan", "plan.json", digest, 6, "application/json")]
    with pytest.raises(BlobGone, match="not held"):
        publish(database, claim, files, "none")
    with pytest.raises(BlobGone, match="not held"):
        checkpoint(database, claim, digest, 6)
    assert (get_job(tenant, job).status, list_artifacts(tenant, job)) == ("running", [])
    blobs.put_bytes("default", b"staged")
    assert checkpoint(database, claim, digest, 6)
    assert publish(database, claim, files, "none") == "published"
    assert [event.seq for event in list_events(tenant, job, 0, 10)] == [1, 2, 3, 4]


def test_a_clock_that_is_set_back_does_not_prolong_leases(
    tenant: Tenant, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not database.is_sqlite:
        pytest.skip("PostgreSQL's own clock decides there")
    step = tmp_path / "clock"
    monkeypatch.setenv(CLOCK_VARIABLE, str(step))
    step.write_text("86400")
    job = queued(tenant)
    claimed(tenant, lease_s=0.5)
    assert acquire_lease(database, "sweep", "dead", 1.0)
    step.write_text("0")
    assert sweep(database, max_attempts=3).requeued == [], "a day ahead, and nobody knows that the clock was set back"
    assert acquire_lease(database, "sweep", "alive", 1.0)
    assert sweep(database, max_attempts=3, lease_s=0.05).requeued == []
    time.sleep(0.1)
    assert sweep(database, max_attempts=3, lease_s=0.05).requeued == [job]


def test_a_sweep_writes_without_looking_through_the_queue(tenant: Tenant, database: Database) -> None:
    """On SQLite a submit waits for whoever writes: no statement of that transaction scans jobs or all queued ones."""
    if not database.is_sqlite:
        pytest.skip("PostgreSQL's writers do not wait for each other")
    queued(tenant)
    written: list[tuple[str, object]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not connection.get_execution_options().get("spikebit_read_only") and "jobs" in statement:
            written.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    sweep(database, max_attempts=3, lease_s=30)
    event.remove(database.engine, "before_cursor_execute", note)
    assert len(written) >= 2
    with database.engine.connect() as connection:
        for statement, parameters in written:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            assert not any(str(row[3]).startswith("SCAN") for row in plan), (statement, plan)
            assert "queued" not in str(parameters), statement


def test_late_and_paused_jobs_of_several_tenants_are_found_in_a_sweep(tenant: Tenant, database: Database) -> None:
    other = Tenant(database, "other")
    late = {queued(one, queue_deadline_s=0.01) for one in (tenant, other)}
    kept = queued(tenant, queue_deadline_s=60)
    paused = queued(tenant)
    with database.write() as session:
        session.execute(
            update(Job).where(Job.id == paused).values(not_before=database.now(session) + timedelta(days=2))
        )
    time.sleep(0.05)
    swept = sweep(database, max_attempts=3, lease_s=30)
    assert set(swept.expired) == late
    assert get_job(tenant, kept).status == "queued"
    assert get_job(tenant, paused).not_before is None
