"""An operator's side of the queue: how long it is, and taking a job from a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import func, select

from jobs.database import Database
from jobs.records import ACTIVE, HELD, Job
from jobs.store.claims import Problem
from jobs.store.endings import end_attempt, finish, requeue
from jobs.store.errors import Conflict, NotFound
from jobs.store.intake import RECORDS
from jobs.store.sweep import INTAKE


@dataclass(frozen=True)
class QueueLine:
    """One class and status of unfinished work; ``oldest_s``: how long its oldest row waits or runs."""

    job_class: str
    status: str
    number: int
    oldest_s: float


def queue_lines(database: Database) -> list[QueueLine]:
    """Unfinished work of all tenants by class and status; uploads that wait to be checked are class ``intake``."""
    with database.read() as session:
        now = database.now(session)
        lines = []
        for status in ACTIVE:
            since = func.coalesce(Job.queued_at, Job.created_at) if status == "queued" else Job.started_at
            query = select(Job.job_class, func.count(), func.min(since)).where(Job.status == status)
            for job_class, number, oldest in session.execute(query.group_by(Job.job_class)):
                age = 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())
                lines.append(QueueLine(job_class, status, number, age))
        for record in RECORDS.values():
            query = select(func.count(), func.min(record.created_at)).where(record.status == "checking")
            number, oldest = session.execute(query).one()
            if number:
                lines.append(QueueLine(INTAKE, "queued", number, max(0.0, (now - oldest).total_seconds())))
        return lines


def requeue_job(database: Database, tenant_id: str, job_id: str) -> Literal["queued", "cancelled"]:
    """Take a job from the worker that holds it: the next attempt resumes it, and what the old one writes is refused.

    Raises:
        NotFound: the tenant has no such job.
        Conflict: ``job_not_running``: no worker holds it.
    """
    with database.write() as session:
        now = database.now(session)
        mine = (Job.tenant_id == tenant_id, Job.id == job_id)
        job = session.scalars(select(Job).where(*mine).with_for_update()).one_or_none()
        if job is None:
            raise NotFound("job", job_id)
        if job.status not in HELD:
            raise Conflict("job_not_running", f"job {job_id} is {job.status}: no worker holds it")
        end_attempt(session, job, job.attempt, now, "released", Problem("requeued", "taken back by an operator"))
        if job.status == "cancelling":
            finish(session, job, now, "cancelled", Problem("cancelled", "cancelled on request"))
            return "cancelled"
        requeue(session, job, now)
        return "queued"
