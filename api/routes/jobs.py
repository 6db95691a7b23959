"""Jobs: submit, dry run, list, show, cancel, delete."""

from __future__ import annotations

import logging
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from api import render
from api.context import Authenticated, Caller
from api.exchange import DEFAULT_LIMIT, MAX_LIMIT, idempotency_key, next_cursor, page_of, wait_seconds
from api.rules.device import check_device
from api.rules.estimate import estimate
from api.rules.inputs import ready_inputs
from api.rules.submit import check, draft, resolve
from api.watch import SLICE_S, JobState
from engine.specs.job import JobRequest
from jobs.store import (
    JobFilter,
    cancel_job,
    delete_job,
    get_job,
    job_version,
    list_jobs,
    submit,
)

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
logger = logging.getLogger("spikebit.api")
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
Status = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled", "expired"]


@router.post("", status_code=202, responses={200: {"description": "Dry run: valid, with an estimate"}})
def post_job(body: JobRequest, request: Request, caller: Authenticated, dry_run: bool = False) -> Response:
    """Submit a job; with ``dry_run=true`` only say whether it is valid and what it would cost."""
    job = resolve(body)
    model, dataset = ready_inputs(caller, body.model, body.dataset, fresh=dry_run)
    job = check(job, model, dataset, counts=body.expected_counts is not None)
    if dry_run:
        cost = estimate(job, model.summary or {}, dataset.summary or {})
        return JSONResponse({"valid": True, "spec": job.model_dump(mode="json"), "estimate": cost})
    settings = caller.service.settings
    check_device(body.device, caller.service.database, settings)
    key = idempotency_key(request, "/v1/jobs", body.model_dump(mode="json", exclude_unset=True))
    trace, request_id = request.scope["state"]["trace"], request.scope["state"]["request_id"]
    new = draft(body, job, settings, trace, request_id)
    answer = submit(caller.tenant, new, key, render.job)
    caller.service.bell.ring(new.job_class, answer.resource_id, trace)
    logger.info("submitted", extra={"fields": {"job_id": answer.resource_id, "replayed": answer.replayed}})
    headers = {"Location": f"/v1/jobs/{answer.resource_id}", "Retry-After": "1"}
    if answer.replayed:
        headers["Idempotency-Replayed"] = "true"
    return JSONResponse(answer.body, 202, headers)


@router.get("")
def get_jobs(
    caller: Authenticated,
    limit: Limit = DEFAULT_LIMIT,
    cursor: str | None = None,
    status: Status | None = None,
    label: str | None = None,
    model: str | None = None,
    dataset: str | None = None,
    labels: Annotated[list[str] | None, Query(description="name:value; several must all hold")] = None,
) -> dict[str, Any]:
    """Jobs, newest first, without request, spec and attempts."""
    wanted = {name: value for name, _, value in (label.partition(":") for label in labels or [])}
    rows = list_jobs(caller.tenant, page_of(cursor, limit), JobFilter(status, label, model, dataset, wanted))
    return {"items": [render.job_line(row) for row in rows[:limit]], "next_cursor": next_cursor(rows, limit)}


@router.get("/{job_id}")
async def show_job(job_id: str, request: Request, caller: Authenticated) -> Response:
    """One job; ``Prefer: wait=n`` waits for its next change, or answers at once if it has ended."""
    await _change(request, caller, job_id)
    view = await run_in_threadpool(get_job, caller.tenant, job_id)
    headers = {"Cache-Control": "no-store"} | ({} if view.terminal else {"Retry-After": "1"})
    return JSONResponse(render.job(view), headers=headers)


@router.post("/{job_id}/cancel", status_code=202)
def post_cancel(job_id: str, caller: Authenticated) -> Response:
    """Ask a job to stop: at once if it is queued, else it becomes ``cancelling`` until its process has ended."""
    view = cancel_job(caller.tenant, job_id)
    return JSONResponse(render.job(view), 202, {"Location": f"/v1/jobs/{job_id}", "Retry-After": "1"})


@router.delete("/{job_id}", status_code=204)
def remove_job(job_id: str, caller: Authenticated) -> None:
    """Forget a job that has ended, with its artifacts."""
    delete_job(caller.tenant, job_id)


async def _change(request: Request, caller: Caller, job_id: str) -> None:
    seconds = wait_seconds(request, caller.service.settings.wait_max_s)
    if not seconds:
        return
    until = time.monotonic() + seconds
    with caller.service.hub.watch(caller.tenant.id, job_id) as watch:
        first = await run_in_threadpool(job_version, caller.tenant, job_id)
        seen: JobState | None = JobState(*first)
        while seen is not None and not seen.terminal and seen.version == first[0]:
            left = until - time.monotonic()
            if left <= 0 or caller.service.stopping or await request.is_disconnected():
                return
            seen = await watch.change(seen, min(left, SLICE_S))
