"""A user's side of jobs: list, show, cancel, delete, events, artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from jobs.records import TERMINAL, Artifact, Attempt, Checkpoint, Event, Job, JobLabel
from jobs.store.claims import CANCEL_WITHIN_S, Problem, add_event
from jobs.store.endings import finish
from jobs.store.errors import Conflict, NotFound
from jobs.store.scope import Page, Scoped, Tenant, newest_first
from jobs.store.views import ArtifactView, EventView, JobView, artifact_view, event_view, job_view


@dataclass(frozen=True)
class JobFilter:
    """Which jobs to list; None: any."""

    status: str | None = None
    label: str | None = None
    model_id: str | None = None
    dataset_id: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


def get_job(tenant: Tenant, job_id: str) -> JobView:
    """The job with its attempts; NotFound where the tenant has none of this id."""
    with tenant.read() as scoped:
        job = _find(scoped, job_id)
        return job_view(job, _attempts(scoped, job_id))


def job_version(tenant: Tenant, job_id: str) -> tuple[int, int, bool]:
    """(version, number of events, is it terminal): the cheap question that waiting requests ask again and again."""
    with tenant.read() as scoped:
        row = scoped.session.execute(
            select(Job.version, Job.event_seq, Job.status).where(Job.tenant_id == tenant.id, Job.id == job_id)
        ).one_or_none()
    if row is None:
        raise NotFound("job", job_id)
    return row[0], row[1], row[2] in TERMINAL


def list_jobs(tenant: Tenant, page: Page, only: JobFilter) -> list[JobView]:
    """Newest first, without attempts; one more than ``page.limit`` where the listing goes on."""
    conditions: list[ColumnElement[bool]] = []
    for column, value in (
        (Job.status, only.status),
        (Job.label, only.label),
        (Job.model_id, only.model_id),
        (Job.dataset_id, only.dataset_id),
    ):
        if value is not None:
            conditions.append(column == value)
    for name, value in only.labels.items():
        mine = (JobLabel.tenant_id == tenant.id, JobLabel.name == name, JobLabel.value == value)
        conditions.append(Job.id.in_(select(JobLabel.job_id).where(*mine)))
    with tenant.read() as scoped:
        query = newest_first(scoped.select(Job).where(*conditions), Job, page)
        return [job_view(row) for row in scoped.session.scalars(query)]


def cancel_job(tenant: Tenant, job_id: str) -> JobView:
    """Ask for the end of a job: a queued one is cancelled at once, a running one becomes ``cancelling``.

    The lease of a running one is cut to ``CANCEL_WITHIN_S`` and no longer prolonged: a worker that is dead or cut off
    cannot hold the end back, since nothing that it writes later counts.

    Raises:
        NotFound: the tenant has no such job.
        Conflict: ``job_terminal``, except where it is cancelled already.
    """
    with tenant.write() as scoped:
        job = _find(scoped, job_id, lock=True)
        if job.status == "queued":
            finish(scoped.session, job, scoped.now, "cancelled", Problem("cancelled", "cancelled on request"))
        elif job.status == "running":
            job.status = "cancelling"
            within = scoped.now + timedelta(seconds=CANCEL_WITHIN_S)
            job.lease_until = within if job.lease_until is None else min(job.lease_until, within)
            add_event(scoped.session, job, scoped.now, "state", {"status": "cancelling", "attempt": job.attempt})
        elif job.status not in ("cancelling", "cancelled"):
            raise Conflict("job_terminal", f"job {job_id} has ended as {job.status!r} and cannot be cancelled")
        scoped.session.flush()
        return job_view(job, _attempts(scoped, job_id))


def delete_job(tenant: Tenant, job_id: str) -> None:
    """Forget a finished job with its events and artifacts; its blobs go with the next collection.

    Raises:
        NotFound: the tenant has no such job.
        Conflict: ``job_not_terminal``.
    """
    with tenant.write() as scoped:
        job = _find(scoped, job_id, lock=True)
        if job.status not in TERMINAL:
            raise Conflict("job_not_terminal", f"job {job_id} is {job.status}; cancel it and wait for its end first")
        forget_job(scoped.session, job)


def forget_job(session: Session, job: Job) -> None:
    """Delete a locked, ended job and all that hangs on it."""
    for record in (Event, Artifact, Attempt, Checkpoint, JobLabel):
        session.execute(delete(record).where(record.tenant_id == job.tenant_id, record.job_id == job.id))
    session.delete(job)


def list_events(tenant: Tenant, job_id: str, after: int, limit: int, kind: str | None = None) -> list[EventView]:
    """Events with ``seq > after`` in order; NotFound where the tenant has no such job."""
    with tenant.read() as scoped:
        _find(scoped, job_id)
        query = scoped.select(Event).where(Event.job_id == job_id, Event.seq > after)
        if kind is not None:
            query = query.where(Event.kind == kind)
        return [event_view(row) for row in scoped.session.scalars(query.order_by(Event.seq).limit(limit))]


def list_artifacts(tenant: Tenant, job_id: str) -> list[ArtifactView]:
    """All artifacts of a job by path; NotFound where the tenant has no such job."""
    with tenant.read() as scoped:
        _find(scoped, job_id)
        query = scoped.select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.path)
        return [artifact_view(row) for row in scoped.session.scalars(query)]


def get_artifact(tenant: Tenant, artifact_id: str) -> ArtifactView:
    """One artifact; NotFound where the tenant has none of this id."""
    with tenant.read() as scoped:
        row = scoped.find(Artifact, Artifact.id == artifact_id)
        if row is None:
            raise NotFound("artifact", artifact_id)
        return artifact_view(row)


def _find(scoped: Scoped, job_id: str, *, lock: bool = False) -> Job:
    job = scoped.find(Job, Job.id == job_id, lock=lock)
    if job is None:
        raise NotFound("job", job_id)
    return job


def _attempts(scoped: Scoped, job_id: str) -> list[Attempt]:
    query = select(Attempt).where(Attempt.tenant_id == scoped.tenant_id, Attempt.job_id == job_id)
    return list(scoped.session.scalars(query.order_by(Attempt.number)))
