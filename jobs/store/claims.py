"""A worker's side of a job: claim it under a lease, and write only while the claim is held.

Every write is one statement guarded by ``id``, ``attempt = token`` and a held state; a worker whose lease was swept
away therefore writes nothing, however late it wakes up. Times are the database's (DESIGN 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, case, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from jobs.database import Database
from jobs.records import HELD, Attempt, Checkpoint, Dataset, Drain, Event, Job, Model
from jobs.store.blob_rows import touch
from jobs.store.errors import BlobGone

CANCEL_WITHIN_S = 9.0  # a worker that has not ended a cancelled job by then is taken for dead; with the sweep: 11 s


@dataclass(frozen=True)
class CheckpointRef:
    """The last checkpoint that an earlier attempt made visible."""

    number: int
    attempt: int
    digest: str
    size: int


@dataclass(frozen=True)
class JobClaim:
    """The right to run one attempt of a job; ``token`` is the attempt's number."""

    tenant_id: str
    job_id: str
    token: int
    worker: str
    spec: dict[str, Any]
    model: str
    dataset: str
    expected_counts: str | None
    expected_traces: str | None
    checkpoint: CheckpointRef | None
    run_seconds_left: float | None
    lease_until: datetime
    trace: str | None = None
    request_id: str | None = None
    waited_s: float = 0.0


@dataclass(frozen=True)
class Beat:
    """Answer to a heartbeat: is the claim still ours, is the job to be cancelled, is the worker to give it back."""

    held: bool
    cancel: bool = False
    drain: bool = False


Ending = Literal["published", "failed", "requeued", "cancelled", "lost"]


@dataclass(frozen=True)
class NewArtifact:
    """A file to publish; its blob is already in the store."""

    role: str
    path: str
    digest: str
    size: int
    media_type: str


@dataclass(frozen=True)
class Problem:
    """Why a job or an upload failed."""

    code: str
    detail: str
    pointer: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The form that is kept and shown."""
        return {"code": self.code, "detail": self.detail, "pointer": self.pointer}


def claim_job(database: Database, job_class: str, worker: str, lease_s: float) -> JobClaim | None:
    """Claim the best eligible job of a class: highest priority, then oldest.

    Args:
        database: where the queue is.
        job_class: for example ``compute``.
        worker: name of this worker, shown in the attempt.
        lease_s: the claim is lost after this many seconds without a heartbeat.

    Returns:
        The claim, or None where nothing waits.
    """
    with database.write() as session:
        now = database.now(session)
        job = None if drained(session, worker) else _best(session, job_class, now)
        if job is None:
            return None
        used = _seconds_run(session, job)
        job.status = "running"
        job.attempt += 1
        job.worker = worker
        job.lease_until = now + timedelta(seconds=lease_s)
        job.started_at = job.started_at or now
        session.add(Attempt(tenant_id=job.tenant_id, job_id=job.id, number=job.attempt, worker=worker, started_at=now))
        add_event(session, job, now, "state", {"status": "running", "attempt": job.attempt})
        left = None if job.run_deadline_s is None else max(0.0, job.run_deadline_s - used)
        ready_at = max(job.queued_at or job.created_at, job.not_before or job.created_at)
        return JobClaim(
            tenant_id=job.tenant_id,
            job_id=job.id,
            token=job.attempt,
            worker=worker,
            spec=job.spec,
            model=_canonical(session, Model, job.tenant_id, job.model_id),
            dataset=_canonical(session, Dataset, job.tenant_id, job.dataset_id),
            expected_counts=job.expected_counts,
            expected_traces=job.expected_traces,
            checkpoint=_last_checkpoint(session, job),
            run_seconds_left=left,
            lease_until=job.lease_until,
            trace=job.trace,
            request_id=job.request_id,
            waited_s=max(0.0, (now - ready_at).total_seconds()),
        )


def heartbeat(database: Database, claim: JobClaim, lease_s: float) -> Beat:
    """Prolong the lease (not of a job that is to be cancelled: see ``CANCEL_WITHIN_S``); says what to do."""
    with database.write() as session:
        until = database.now(session) + timedelta(seconds=lease_s)
        kept = case((Job.status == "running", until), else_=Job.lease_until)
        status = session.execute(
            update(Job).where(*held_by(claim)).values(lease_until=kept).returning(Job.status)
        ).scalar_one_or_none()
        return Beat(status is not None, status == "cancelling", drained(session, claim.worker))


def look(database: Database, claim: JobClaim) -> Beat:
    """What a heartbeat answers, without prolonging: a read, so that it can be asked every second or two."""
    with database.read() as session:
        status = session.execute(select(Job.status).where(*held_by(claim))).scalar_one_or_none()
        return Beat(status is not None, status == "cancelling", drained(session, claim.worker))


def drained(session: Session, worker: str) -> bool:
    """Was this worker, its host or every worker told to claim nothing and to give back what it runs."""
    host = worker.partition("@")[2].partition(":")[0]
    return bool(session.execute(select(exists().where(Drain.scope.in_(("*", host, worker))))).scalar())


def progress(
    database: Database,
    claim: JobClaim,
    stage: str,
    done: int,
    total: int,
    message: str = "",
    metrics: dict[str, float] | None = None,
    place: Mapping[str, Any] | None = None,
) -> bool:
    """Record how far the job is, as the job's ``progress`` and as an event; False: the claim is lost.

    ``place`` says which of the job's steps that is and how long the stage will take (``worker.progress``).
    """
    data = {"stage": stage, "done": done, "total": total, "message": message, "metrics": metrics or {}, **(place or {})}
    with database.write() as session:
        return _guarded_event(session, claim, database.now(session), "progress", data, {"progress": data})


def log(database: Database, claim: JobClaim, message: str, keep: int) -> bool:
    """Append a log line (cut at 4,000 characters); lines after the first ``keep`` are dropped. False: claim lost."""
    with database.write() as session:
        written = session.execute(
            update(Job).where(*held_by(claim)).values(log_count=Job.log_count + 1).returning(Job.log_count)
        ).scalar_one_or_none()
        if written is None or written > keep:
            return written is not None
        return _guarded_event(session, claim, database.now(session), "log", {"message": message[:4000]}, {})


def checkpoint(database: Database, claim: JobClaim, digest: str, size: int) -> bool:
    """Make a synced checkpoint blob the one that later attempts start from, instead of the one before.

    Returns:
        False: the claim is lost and nothing was written.

    Raises:
        BlobGone: the collector took the blob in between (nothing is written).
    """
    with database.write() as session:
        now = database.now(session)
        if not _guarded_event(session, claim, now, "checkpoint", {"digest": digest, "size": size}, {}):
            return False
        if not touch(session, claim.tenant_id, digest, now):
            raise BlobGone(digest)
        mine = (Checkpoint.tenant_id == claim.tenant_id, Checkpoint.job_id == claim.job_id)
        last = session.execute(select(func.max(Checkpoint.number)).where(*mine)).scalar_one()
        session.execute(delete(Checkpoint).where(*mine))
        session.add(
            Checkpoint(
                tenant_id=claim.tenant_id,
                job_id=claim.job_id,
                number=(last or 0) + 1,
                attempt=claim.token,
                digest=digest,
                size=size,
                created_at=now,
            )
        )
        return True


def held_by(claim: JobClaim) -> tuple[Any, ...]:
    """Conditions that only the holder of the claim fulfils."""
    return (
        Job.tenant_id == claim.tenant_id,
        Job.id == claim.job_id,
        Job.attempt == claim.token,
        Job.status.in_(HELD),
    )


def add_event(session: Session, job: Job, now: datetime, kind: str, data: dict[str, Any]) -> None:
    """Append an event to a job whose row this transaction has locked."""
    job.event_seq += 1
    job.version += 1
    session.add(Event(tenant_id=job.tenant_id, job_id=job.id, seq=job.event_seq, kind=kind, data=data, created_at=now))


def _guarded_event(
    session: Session, claim: JobClaim, now: datetime, kind: str, data: dict[str, Any], values: dict[str, Any]
) -> bool:
    seq = session.execute(
        update(Job)
        .where(*held_by(claim))
        .values(event_seq=Job.event_seq + 1, version=Job.version + 1, **values)
        .returning(Job.event_seq)
    ).scalar_one_or_none()
    if seq is None:
        return False
    session.add(Event(tenant_id=claim.tenant_id, job_id=claim.job_id, seq=seq, kind=kind, data=data, created_at=now))
    return True


def _best(session: Session, job_class: str, now: datetime) -> Job | None:
    """The oldest eligible job of the highest priority that has one, locked.

    One priority after the other: within one, the index is in the order of the answer, so that a hundred thousand
    waiting rows are neither read nor sorted.
    """
    eligible = (
        Job.status == "queued",
        Job.job_class == job_class,
        or_(Job.not_before.is_(None), Job.not_before <= now),
        or_(Job.attempt > 0, Job.queue_deadline_at.is_(None), Job.queue_deadline_at > now),
    )
    below: ColumnElement[bool] | None = None
    while True:
        of_class = select(func.max(Job.priority)).where(Job.status == "queued", Job.job_class == job_class)
        priority = session.execute(of_class if below is None else of_class.where(below)).scalar_one_or_none()
        if priority is None:
            return None
        query = select(Job).where(*eligible, Job.priority == priority).order_by(Job.created_at, Job.id).limit(1)
        job = session.scalars(query.with_for_update(skip_locked=True)).one_or_none()
        if job is not None:
            return job
        below = Job.priority < priority


def _canonical(session: Session, record: type[Model] | type[Dataset], tenant_id: str, identity: str) -> str:
    row = session.get_one(record, (tenant_id, identity))
    if row.canonical is None:
        raise RuntimeError(f"{identity} of a queued job has no canonical blob: it can only be deleted with the job")
    return row.canonical


def _seconds_run(session: Session, job: Job) -> float:
    attempts = session.scalars(select(Attempt).where(Attempt.tenant_id == job.tenant_id, Attempt.job_id == job.id))
    return sum((a.ended_at - a.started_at).total_seconds() for a in attempts if a.ended_at is not None)


def _last_checkpoint(session: Session, job: Job) -> CheckpointRef | None:
    row = session.scalars(
        select(Checkpoint)
        .where(Checkpoint.tenant_id == job.tenant_id, Checkpoint.job_id == job.id)
        .order_by(Checkpoint.number.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else CheckpointRef(row.number, row.attempt, row.digest, row.size)
