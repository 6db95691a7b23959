"""How an attempt ends: publish, fail, cancelled, released. Each is one guarded write; terminal states never change."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs.database import Database
from jobs.records import Artifact, Attempt, Job
from jobs.store.blob_rows import touch
from jobs.store.claims import Ending, JobClaim, NewArtifact, Problem, add_event, held_by
from jobs.store.errors import BlobGone

LONGEST_PAUSE_S = 300.0


def publish(database: Database, claim: JobClaim, artifacts: Sequence[NewArtifact], verdict: str) -> Ending:
    """Artifacts, verdict and the state ``succeeded`` in one write.

    Returns:
        ``published``; ``cancelled`` where the user's cancel came first (nothing is published then); ``lost`` where
        the claim is no longer held (nothing is written).

    Raises:
        ValueError: the verdict is not one of pass, fail, none.
        BlobGone: the collector took an artifact's blob in between (nothing is written).
    """
    if verdict not in ("pass", "fail", "none"):
        raise ValueError(f"verdict must be pass, fail or none, got {verdict!r}")
    with database.write() as session:
        now = database.now(session)
        job = _hold(session, claim)
        if job is None:
            return "lost"
        if job.status == "cancelling":
            _cancel(session, job, claim.token, now)
            return "cancelled"
        for artifact in artifacts:
            if not touch(session, claim.tenant_id, artifact.digest, now):
                raise BlobGone(artifact.digest)
            session.add(
                Artifact(
                    tenant_id=claim.tenant_id,
                    id=artifact_id(claim.tenant_id, claim.job_id, artifact.path),
                    job_id=claim.job_id,
                    role=artifact.role,
                    path=artifact.path,
                    size=artifact.size,
                    digest=artifact.digest,
                    media_type=artifact.media_type,
                    created_at=now,
                )
            )
        job.verdict = verdict
        end_attempt(session, job, claim.token, now, "succeeded")
        finish(session, job, now, "succeeded", None)
        return "published"


def fail(
    database: Database, claim: JobClaim, problem: Problem, *, retry_up_to: int = 0, pause_s: float = 0.0
) -> Ending:
    """End the attempt with a problem.

    Args:
        database: where the job is.
        claim: the attempt.
        problem: shown in the attempt, and in the job where it ends here.
        retry_up_to: 0: deterministic, the job fails. n: a crash; the job is queued again while fewer than n
            attempts have crashed, then it fails with this problem.
        pause_s: the second attempt is not claimed before so many seconds have passed, the third not before twice as
            many, and so on; nothing that lacks memory or disk gets it by being tried at once again.

    Returns:
        ``failed``, ``requeued``, ``cancelled`` (the user's cancel wins) or ``lost``.
    """
    with database.write() as session:
        now = database.now(session)
        job = _hold(session, claim)
        if job is None:
            return "lost"
        if job.status == "cancelling":
            _cancel(session, job, claim.token, now)
            return "cancelled"
        end_attempt(session, job, claim.token, now, "failed", problem)
        if retry_up_to:
            job.crashes += 1
            if job.crashes < retry_up_to:
                pause = timedelta(seconds=min(LONGEST_PAUSE_S, pause_s * 2 ** (job.crashes - 1)))
                requeue(session, job, now, not_before=now + pause if pause_s else None)
                return "requeued"
        finish(session, job, now, "failed", problem)
        return "failed"


def confirm_cancelled(database: Database, claim: JobClaim) -> Ending:
    """The child of a cancelled job has ended: ``cancelled``, or ``lost``."""
    with database.write() as session:
        now = database.now(session)
        job = _hold(session, claim)
        if job is None or job.status != "cancelling":
            return "lost"
        _cancel(session, job, claim.token, now)
        return "cancelled"


def release(database: Database, claim: JobClaim) -> Ending:
    """Give a job back because this worker is told to stop; it is queued at once and no crash is counted."""
    with database.write() as session:
        now = database.now(session)
        job = _hold(session, claim)
        if job is None:
            return "lost"
        if job.status == "cancelling":
            _cancel(session, job, claim.token, now)
            return "cancelled"
        end_attempt(session, job, claim.token, now, "released", Problem("worker_stopped", "the worker was stopped"))
        requeue(session, job, now)
        return "requeued"


def artifact_id(tenant_id: str, job_id: str, path: str) -> str:
    """An artifact's id, derived from its job and path."""
    return "art_" + hashlib.sha256(f"{tenant_id}|{job_id}|{path}".encode()).hexdigest()[:24]


def finish(session: Session, job: Job, now: datetime, status: str, problem: Problem | None) -> None:
    """Set a terminal state on a locked, non-terminal job."""
    job.status = status
    job.problem = None if problem is None else problem.as_json()
    job.finished_at = now
    job.lease_until = None
    job.worker = None
    add_event(session, job, now, "state", {"status": status, "verdict": job.verdict, "problem": job.problem})


def requeue(session: Session, job: Job, now: datetime, not_before: datetime | None = None) -> None:
    """Put a locked job back into the queue; its attempt number stays, so the old token is worth nothing."""
    job.status = "queued"
    job.lease_until = None
    job.worker = None
    job.queued_at = now
    job.not_before = not_before
    add_event(session, job, now, "state", {"status": "queued", "attempt": job.attempt})


def end_attempt(
    session: Session, job: Job, number: int, now: datetime, outcome: str, problem: Problem | None = None
) -> None:
    """Close the row of an attempt."""
    attempt = session.get_one(Attempt, (job.tenant_id, job.id, number))
    attempt.ended_at = now
    attempt.outcome = outcome
    attempt.code = None if problem is None else problem.code
    attempt.detail = None if problem is None else problem.detail


def _cancel(session: Session, job: Job, number: int, now: datetime) -> None:
    end_attempt(session, job, number, now, "cancelled")
    finish(session, job, now, "cancelled", Problem("cancelled", "cancelled on request"))


def _hold(session: Session, claim: JobClaim) -> Job | None:
    return session.scalars(select(Job).where(*held_by(claim)).with_for_update()).one_or_none()
