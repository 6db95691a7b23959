"""The sweep: leases that ran out, deadlines that passed, records whose time is over. One worker at a time runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from jobs.database import Database
from jobs.records import HELD, Idempotency, Job, Lease
from jobs.store.claims import CANCEL_WITHIN_S, Problem
from jobs.store.endings import LONGEST_PAUSE_S, end_attempt, finish, requeue
from jobs.store.intake import RECORDS

INTAKE = "intake"
AT_ONCE = 500  # rows of a kind that one sweep changes; the next one goes on
AHEAD_LEASES = 4  # an end that is more leases ahead than this was written before the clock was set back


@dataclass
class Swept:
    """What one sweep did (ids), and how much waits per class now."""

    requeued: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    expired: list[str] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)  # (tenant, blob) to drop
    waiting: dict[str, int] = field(default_factory=dict)


def acquire_lease(database: Database, name: str, holder: str, seconds: float) -> bool:
    """Take or prolong a named duty; False: another process holds it."""
    insert = sqlite.insert if database.is_sqlite else postgresql.insert
    with database.write() as session:
        now = database.now(session)
        values = {"holder": holder, "until": now + timedelta(seconds=seconds)}
        # Far ahead of any lease of today: written before the clock was set back.
        free = or_(Lease.until < now, Lease.until > now + timedelta(seconds=AHEAD_LEASES * seconds))
        taken = session.execute(
            insert(Lease)
            .values(name=name, **values)
            .on_conflict_do_update(index_elements=["name"], set_=values, where=or_(free, Lease.holder == holder))
            .returning(Lease.name)
        ).scalar_one_or_none()
        return taken is not None


def release_lease(database: Database, name: str, holder: str) -> None:
    """Give a duty back, if it is held."""
    with database.write() as session:
        session.execute(delete(Lease).where(Lease.name == name, Lease.holder == holder))


def sweep(
    database: Database,
    *,
    max_attempts: int,
    lease_s: float | None = None,
    rejected_keep_s: float = 86_400,
    idempotency_keep_s: float = 172_800,
) -> Swept:
    """Requeue or end what its worker left, end what waited too long, forget what is past its time.

    A long queue is looked through in a read transaction, so that on SQLite no submit waits for it; what was found is
    looked at again in the write.

    Args:
        database: the records.
        max_attempts: crashed attempts after which a job fails with ``worker_lost`` and an upload is rejected.
        lease_s: leases that end far later than this from now are cut to it, for the clock was set back since.
        rejected_keep_s: how long a rejected upload's problem is shown.
        idempotency_keep_s: how long stored answers are kept.
    """
    swept = Swept()
    with database.read() as session:
        now = database.now(session)
        late = _keys(session, *_late(now))
        paused = _keys(session, *_paused_too_long(now)) if lease_s is not None else {}
    with database.write() as session:
        now = database.now(session)
        if lease_s is not None:
            _cut_leases(session, now, lease_s)
            _cut_pauses(session, now, paused)
        _lost_jobs(session, now, max_attempts, swept)
        _late_jobs(session, now, late, swept)
        _lost_uploads(session, now, max_attempts, swept)
        for record in RECORDS.values():
            old = record.checked_at < now - timedelta(seconds=rejected_keep_s)
            session.execute(delete(record).where(record.status == "rejected", old))
        keep = now - timedelta(seconds=idempotency_keep_s)
        session.execute(delete(Idempotency).where(Idempotency.created_at < keep))
    swept.waiting = waiting(database)
    return swept


def end_cancelled(database: Database) -> list[str]:
    """End cancelled jobs whose worker has not confirmed it in time; returns their ids.

    Every worker asks this every two seconds (a read, nearly always), so that a cancel does not wait for the sweep.
    """
    with database.read() as session:
        now = database.now(session)
        overdue = select(Job).where(Job.status == "cancelling", Job.lease_until < now)
        if session.execute(overdue.with_only_columns(Job.id).limit(1)).first() is None:
            return []
    ended = []
    with database.write() as session:
        for job in session.scalars(overdue.with_for_update(skip_locked=True)).all():
            problem = Problem("worker_lost", f"worker {job.worker} did not confirm the end in time")
            end_attempt(session, job, job.attempt, now, "lost", problem)
            finish(session, job, now, "cancelled", Problem("cancelled", "cancelled on request"))
            ended.append(job.id)
    return ended


def waiting(database: Database) -> dict[str, int]:
    """Rows that could be claimed now, per class (``intake`` among them); classes with none are left out."""
    with database.read() as session:
        now = database.now(session)
        ready = (Job.status == "queued", or_(Job.not_before.is_(None), Job.not_before <= now))
        queued = select(Job.job_class, func.count()).where(*ready).group_by(Job.job_class)
        counts: dict[str, int] = {row[0]: row[1] for row in session.execute(queued)}
        uploads = 0
        for record in RECORDS.values():
            idle = select(func.count()).where(record.status == "checking", record.lease_until.is_(None))
            uploads += session.execute(idle).scalar_one()
    return counts | ({INTAKE: uploads} if uploads else {})


def _cut_leases(session: Session, now: datetime, lease_s: float) -> None:
    """A clock that was set back must not make a dead worker's lease last as long as the step."""
    far = now + timedelta(seconds=AHEAD_LEASES * max(lease_s, CANCEL_WITHIN_S))
    until = now + timedelta(seconds=lease_s)
    for held, lease_until in (
        (Job.status.in_(HELD), Job.lease_until),
        *((record.status == "checking", record.lease_until) for record in RECORDS.values()),
    ):
        session.execute(update(lease_until.class_).where(held, lease_until > far).values(lease_until=until))


def _cut_pauses(session: Session, now: datetime, found: Mapping[str, list[str]]) -> None:
    """The same for the pause before a job is tried again."""
    for tenant, ids in found.items():
        mine = (Job.tenant_id == tenant, Job.id.in_(ids))
        session.execute(update(Job).where(*mine, *_paused_too_long(now)).values(not_before=None))


def _keys(session: Session, *conditions: ColumnElement[bool]) -> dict[str, list[str]]:
    """Ids of such jobs by tenant, as the primary key finds them again."""
    found: dict[str, list[str]] = {}
    for tenant, identity in session.execute(select(Job.tenant_id, Job.id).where(*conditions).limit(AT_ONCE)):
        found.setdefault(tenant, []).append(identity)
    return found


def _paused_too_long(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return Job.status == "queued", Job.not_before > now + timedelta(seconds=2 * LONGEST_PAUSE_S)


def _late(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return Job.status == "queued", Job.attempt == 0, Job.queue_deadline_at < now


def _lost_jobs(session: Session, now: datetime, max_attempts: int, swept: Swept) -> None:
    expired = select(Job).where(Job.status.in_(HELD), Job.lease_until < now).with_for_update(skip_locked=True)
    for job in session.scalars(expired).all():
        problem = Problem("worker_lost", f"worker {job.worker} stopped answering in attempt {job.attempt}")
        end_attempt(session, job, job.attempt, now, "lost", problem)
        job.crashes += 1
        if job.status == "cancelling":
            finish(session, job, now, "cancelled", Problem("cancelled", "cancelled on request"))
            swept.cancelled.append(job.id)
        elif job.crashes >= max_attempts:
            detail = f"{job.crashes} attempts ended because their worker stopped answering; the limit is {max_attempts}"
            finish(session, job, now, "failed", Problem("worker_lost", detail))
            swept.lost.append(job.id)
        else:
            requeue(session, job, now)
            swept.requeued.append(job.id)


def _late_jobs(session: Session, now: datetime, found: Mapping[str, list[str]], swept: Swept) -> None:
    problem = Problem("queue_deadline", "no worker was free before the queue deadline")
    for tenant, ids in found.items():
        late = select(Job).where(Job.tenant_id == tenant, Job.id.in_(ids), *_late(now))
        for job in session.scalars(late.with_for_update(skip_locked=True)).all():
            finish(session, job, now, "expired", problem)
            swept.expired.append(job.id)


def _lost_uploads(session: Session, now: datetime, max_attempts: int, swept: Swept) -> None:
    for record in RECORDS.values():
        expired = select(record).where(record.status == "checking", record.lease_until < now)
        for row in session.scalars(expired.with_for_update(skip_locked=True)).all():
            row.lease_until = None
            row.worker = None
            if row.tries < max_attempts:
                swept.requeued.append(row.id)
                continue
            detail = f"{row.tries} attempts to check the upload ended because their worker stopped answering"
            row.status, row.checked_at = "rejected", now
            row.problem = Problem("worker_lost", detail).as_json()
            swept.rejected.append((row.tenant_id, row.blob))
