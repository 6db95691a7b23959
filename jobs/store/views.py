"""What the store hands out: plain values, detached from the database."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from jobs.records import TERMINAL, Artifact, Attempt, Blob, Dataset, Event, Export, Job, Model

UploadKind = Literal["model", "dataset", "export"]


@dataclass(frozen=True)
class AttemptView:
    """One attempt of a job."""

    number: int
    worker: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    code: str | None
    detail: str | None


@dataclass(frozen=True)
class JobView:
    """A job as it is now."""

    id: str
    status: str
    verdict: str | None
    model_id: str
    dataset_id: str
    request: dict[str, Any]
    spec: dict[str, Any]
    label: str | None
    engine_version: str
    progress: dict[str, Any] | None
    problem: dict[str, Any] | None
    version: int
    event_seq: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempts: tuple[AttemptView, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    priority: int = 0
    job_class: str = "compute"
    not_before: datetime | None = None
    queue_deadline_at: datetime | None = None
    run_deadline_s: float | None = None

    @property
    def terminal(self) -> bool:
        """Will this state never change again."""
        return self.status in TERMINAL


@dataclass(frozen=True)
class UploadView:
    """A model (``dynamics``, ``repair``), a dataset (``format``, maybe ``transform``) or an export (``framework``)."""

    kind: UploadKind
    id: str
    name: str | None
    status: str
    blob: str
    canonical: str | None
    summary: dict[str, Any] | None
    problem: dict[str, Any] | None
    created_at: datetime
    dynamics: dict[str, Any] | None = None
    repair: bool | None = None
    format: str | None = None
    transform: dict[str, Any] | None = None
    model_id: str | None = None
    framework: str | None = None
    snippet: bool | None = None


@dataclass(frozen=True)
class ArtifactView:
    """A published file."""

    id: str
    job_id: str
    role: str
    path: str
    size: int
    digest: str
    media_type: str
    expired_at: datetime | None = None


@dataclass(frozen=True)
class EventView:
    """One event of a job."""

    seq: int
    kind: str
    data: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True)
class BlobView:
    """A held blob."""

    digest: str
    size: int


def job_view(row: Job, attempts: list[Attempt] | None = None) -> JobView:
    """The job's row as a value."""
    return JobView(
        id=row.id,
        status=row.status,
        verdict=row.verdict,
        model_id=row.model_id,
        dataset_id=row.dataset_id,
        request=row.request,
        spec=row.spec,
        label=row.label,
        engine_version=row.engine_version,
        progress=row.progress,
        problem=row.problem,
        version=row.version,
        event_seq=row.event_seq,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        attempts=tuple(_attempt_view(attempt) for attempt in attempts or []),
        labels=row.labels or {},
        priority=row.priority,
        job_class=row.job_class,
        not_before=row.not_before if row.status == "queued" else None,
        queue_deadline_at=row.queue_deadline_at,
        run_deadline_s=row.run_deadline_s,
    )


def _attempt_view(row: Attempt) -> AttemptView:
    return AttemptView(row.number, row.worker, row.started_at, row.ended_at, row.outcome, row.code, row.detail)


def upload_view(row: Model | Dataset | Export) -> UploadView:
    """The row of a model, a dataset or an export as a value."""
    common: dict[str, Any] = {
        "id": row.id,
        "name": row.name,
        "status": row.status,
        "blob": row.blob,
        "canonical": row.canonical,
        "summary": row.summary,
        "problem": row.problem,
        "created_at": row.created_at,
    }
    if isinstance(row, Model):
        return UploadView(kind="model", **common, dynamics=row.dynamics, repair=row.repair)
    if isinstance(row, Dataset):
        return UploadView(kind="dataset", **common, format=row.format, transform=row.transform)
    told: dict[str, Any] = {
        "model_id": row.model_id,
        "framework": row.framework,
        "snippet": row.snippet,
        "dynamics": row.dynamics,
    }
    return UploadView(kind="export", **common, **told)


def artifact_view(row: Artifact) -> ArtifactView:
    """The artifact's row as a value."""
    return ArtifactView(row.id, row.job_id, row.role, row.path, row.size, row.digest, row.media_type, row.expired_at)


def event_view(row: Event) -> EventView:
    """The event's row as a value."""
    return EventView(row.seq, row.kind, row.data, row.created_at)


def blob_view(row: Blob) -> BlobView:
    """The blob's row as a value."""
    return BlobView(row.digest, row.size)
