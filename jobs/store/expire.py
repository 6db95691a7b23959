"""Expiry by policy: ended jobs, published files and unused uploads whose time is over, each with its reference check.

Rows go here; their blobs follow through the collector (``Blobs.collect``), which looks for references by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from jobs.database import Database
from jobs.records import ACTIVE, TERMINAL, Artifact, Dataset, Export, Job, Model
from jobs.store.jobs import forget_job

BATCH = 500  # rows a transaction, so that no writer waits long


@dataclass(frozen=True)
class Keep:
    """For how long things are kept, in seconds; None: for good."""

    jobs_s: float | None = None
    artifacts_s: float | None = None
    uploads_s: float | None = None


@dataclass(frozen=True)
class Expired:
    """How many of each are gone."""

    jobs: int
    artifacts: int
    uploads: int


def expire(database: Database, keep: Keep) -> Expired:
    """Forget what is past its time, at most one batch of each kind a call.

    A job that has not ended expires never, and with it neither its model nor its dataset. An upload's time runs from
    the last job that named it.

    Args:
        database: the records.
        keep: the policy.
    """
    with database.write() as session:
        now = database.now(session)
        artifacts = 0 if keep.artifacts_s is None else _artifacts(session, now, keep.artifacts_s)
        jobs = 0 if keep.jobs_s is None else _jobs(session, now, keep.jobs_s)
        uploads = 0
        if keep.uploads_s is not None:
            before = now - timedelta(seconds=keep.uploads_s)
            uploads = _uploads(session, Model, before) + _uploads(session, Dataset, before) + _exports(session, before)
    return Expired(jobs, artifacts, uploads)


def _artifacts(session: Session, now: datetime, keep_s: float) -> int:
    ended = exists().where(
        Job.tenant_id == Artifact.tenant_id,
        Job.id == Artifact.job_id,
        Job.finished_at < now - timedelta(seconds=keep_s),
    )
    old = select(Artifact).where(Artifact.expired_at.is_(None), ended).limit(BATCH)
    rows = session.scalars(old.with_for_update(skip_locked=True)).all()
    for row in rows:
        row.expired_at = now
    return len(rows)


def _jobs(session: Session, now: datetime, keep_s: float) -> int:
    old = select(Job).where(Job.status.in_(TERMINAL), Job.finished_at < now - timedelta(seconds=keep_s)).limit(BATCH)
    rows = session.scalars(old.with_for_update(skip_locked=True)).all()
    for job in rows:
        forget_job(session, job)
    return len(rows)


def _uploads(session: Session, record: type[Model] | type[Dataset], before: datetime) -> int:
    column = Job.model_id if record is Model else Job.dataset_id
    needed = exists().where(
        Job.tenant_id == record.tenant_id,
        column == record.id,
        or_(Job.status.in_(ACTIVE), Job.created_at >= before, Job.finished_at >= before),
    )
    old = select(record.tenant_id, record.id).where(record.status == "ready", record.checked_at < before, ~needed)
    gone = 0
    for tenant_id, identity in session.execute(old.limit(BATCH)).all():
        # Locked first, looked at second: a submit holds its inputs FOR SHARE, and what it adds must be seen here.
        row = session.get(record, (tenant_id, identity), with_for_update=True)
        mine = (record.tenant_id == tenant_id, record.id == identity)
        if row is None or session.execute(select(record.id).where(*mine, needed)).first() is not None:
            continue
        session.delete(row)
        session.flush()
        gone += 1
    return gone


def _exports(session: Session, before: datetime) -> int:
    """Files for frameworks: nothing refers to one."""
    old = select(Export).where(Export.status == "ready", Export.checked_at < before).limit(BATCH)
    rows = session.scalars(old.with_for_update(skip_locked=True)).all()
    for row in rows:
        session.delete(row)
    return len(rows)
