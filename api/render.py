"""Records as the API shows them."""

from __future__ import annotations

from typing import Any

from api.exchange import instant
from jobs.store import ArtifactView, EventView, JobView, UploadView

_PARTS = ("events", "logs", "report", "artifacts")


def upload(view: UploadView) -> dict[str, Any]:
    """A model, dataset or export."""
    body: dict[str, Any] = {
        "id": view.id,
        "name": view.name,
        "status": view.status,
        "digest": view.canonical,
        "blob": view.blob,
        "summary": view.summary,
        "problem": view.problem,
        "created_at": instant(view.created_at),
    }
    if view.kind == "model":
        return body | {"dynamics": view.dynamics, "repair": view.repair}
    if view.kind == "export":
        told = {"model": view.model_id, "framework": view.framework, "snippet": view.snippet, "dynamics": view.dynamics}
        return body | told | {"links": {"content": f"/v1/exports/{view.id}/content"}}
    return body | {"format": view.format, "transform": view.transform}


def job(view: JobView) -> dict[str, Any]:
    """A job with its attempts."""
    return {
        "id": view.id,
        "status": view.status,
        "verdict": view.verdict,
        "model": view.model_id,
        "dataset": view.dataset_id,
        "label": view.label,
        "labels": view.labels,
        "priority": view.priority,
        "class": view.job_class,
        "request": view.request,
        "spec": view.spec,
        "progress": view.progress,
        "attempts": [
            {
                "number": attempt.number,
                "worker": attempt.worker,
                "started_at": instant(attempt.started_at),
                "ended_at": instant(attempt.ended_at),
                "outcome": attempt.outcome,
                "code": attempt.code,
                "detail": attempt.detail,
            }
            for attempt in view.attempts
        ],
        "problem": view.problem,
        "not_before": instant(view.not_before),
        "queue_deadline_at": instant(view.queue_deadline_at),
        "run_deadline_s": view.run_deadline_s,
        "engine_version": view.engine_version,
        "created_at": instant(view.created_at),
        "started_at": instant(view.started_at),
        "finished_at": instant(view.finished_at),
        "links": {"self": f"/v1/jobs/{view.id}"} | {name: f"/v1/jobs/{view.id}/{name}" for name in _PARTS},
    }


def job_line(view: JobView) -> dict[str, Any]:
    """A job in a listing: without request, spec and attempts."""
    left_out = ("request", "spec", "attempts")
    return {name: value for name, value in job(view).items() if name not in left_out}


def artifact(view: ArtifactView) -> dict[str, Any]:
    """An artifact."""
    return {
        "id": view.id,
        "role": view.role,
        "path": view.path,
        "size": view.size,
        "sha256": view.digest.removeprefix("sha256:"),
        "media_type": view.media_type,
        "expired_at": instant(view.expired_at),
        "href": f"/v1/artifacts/{view.id}/content",
    }


def event(view: EventView) -> dict[str, Any]:
    """An event."""
    return {"seq": view.seq, "event": view.kind, "data": view.data, "created_at": instant(view.created_at)}
