"""For operators (keys with the scope ``admin``): keys, the queue, workers, drains, taking a job from its worker."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from api.context import Operator
from api.exchange import instant
from api.problems import Problem
from jobs.store import (
    KeyView,
    Tenant,
    add_key,
    drain,
    generate_key,
    list_drains,
    list_keys,
    list_workers,
    queue_lines,
    requeue_job,
    resume,
    revoke_key,
)

router = APIRouter(prefix="/v1", tags=["operate"])


class KeyRequest(BaseModel):
    """Body of POST /v1/keys."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=200)
    tenant: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,64}$", description="None: the caller's own")
    scope: Literal["user", "admin"] = "user"
    expires_in_s: float | None = Field(default=None, gt=0, le=10 * 366 * 86_400)


class DrainRequest(BaseModel):
    """Body of POST /v1/admin/drains."""

    model_config = ConfigDict(extra="forbid")
    scope: str = Field(default="*", min_length=1, max_length=255, description="*, a host, or a worker's name")


@router.get("/keys")
def get_keys(caller: Operator) -> dict[str, Any]:
    """Keys of all tenants; what they open is shown once, when they are made."""
    return {"items": [_key(view) for view in list_keys(caller.service.database)]}


@router.post("/keys", status_code=201)
def post_key(body: KeyRequest, caller: Operator) -> Response:
    """Make a key; the answer is the only place where it is ever shown."""
    key = generate_key()
    expires = None if body.expires_in_s is None else datetime.now(UTC) + timedelta(seconds=body.expires_in_s)
    tenant = Tenant(caller.service.database, body.tenant or caller.tenant.id)
    identity = add_key(tenant, key, body.name, expires, body.scope)
    shown = next(_key(view) for view in list_keys(caller.service.database) if view.id == identity)
    return JSONResponse(shown | {"key": key}, 201, {"Cache-Control": "no-store"})


@router.delete("/keys/{key_id}", status_code=204)
def delete_key(key_id: str, caller: Operator) -> None:
    """End a key; it opens nothing after at most two seconds."""
    found = next((view for view in list_keys(caller.service.database) if view.id == key_id), None)
    if found is None or not revoke_key(Tenant(caller.service.database, found.tenant_id), key_id):
        raise Problem(404, "not_found", f"there is no valid key {key_id!r}")


@router.get("/admin/queue")
def get_queue(caller: Operator) -> dict[str, Any]:
    """Unfinished work by class and status, live workers, drains."""
    service = caller.service
    workers = list_workers(service.database, service.settings.worker_silent_s)
    return {
        "queue": [
            {"class": line.job_class, "status": line.status, "number": line.number, "oldest_s": round(line.oldest_s, 1)}
            for line in queue_lines(service.database)
        ],
        "workers": [
            {
                "name": worker.name,
                "class": worker.job_class,
                "host": worker.host,
                "device": worker.device,
                "engine_version": worker.engine_version,
                "state": worker.state,
                "job": worker.job_id,
                "started_at": instant(worker.started_at),
                "seen_at": instant(worker.seen_at),
            }
            for worker in workers
        ],
        "drains": [{"scope": scope, "since": instant(since)} for scope, since in list_drains(service.database)],
    }


@router.post("/admin/jobs/{job_id}/requeue", status_code=202)
def post_requeue(job_id: str, caller: Operator, tenant: str | None = None) -> dict[str, str]:
    """Take a job from the worker that holds it; the next attempt resumes it, and the old one's writes are refused."""
    status = requeue_job(caller.service.database, tenant or caller.tenant.id, job_id)
    caller.service.bell.ring("compute", job_id)
    return {"id": job_id, "status": status}


@router.post("/admin/drains", status_code=202)
def post_drain(body: DrainRequest, caller: Operator) -> dict[str, Any]:
    """Workers in the scope claim nothing from now on and give back what they run, until the drain is ended."""
    drain(caller.service.database, body.scope)
    return get_queue(caller)


@router.delete("/admin/drains/{scope:path}", status_code=204)
def delete_drain(scope: str, caller: Operator) -> None:
    """End a drain: its workers claim again at their next look."""
    if not resume(caller.service.database, scope):
        raise Problem(404, "not_found", f"there is no drain of {scope!r}")


def _key(view: KeyView) -> dict[str, Any]:
    return {
        "id": view.id,
        "tenant": view.tenant_id,
        "name": view.name,
        "scope": view.scopes or "admin",
        "created_at": instant(view.created_at),
        "expires_at": instant(view.expires_at),
        "revoked_at": instant(view.revoked_at),
    }
