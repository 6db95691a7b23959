"""What a job left: report, artifacts, logs, content."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from api import render
from api.content import asked_span, blob_response
from api.context import Authenticated, Caller
from api.exchange import best_type, instant
from api.problems import Problem
from jobs.store import ArtifactView, EventView, get_artifact, get_job, list_artifacts, list_events

router = APIRouter(prefix="/v1", tags=["results"])
REPORTS = {"application/json": "report-json", "text/html": "report-html", "text/markdown": "report-md"}
# The report is our own page, but names in it are the user's: nothing in it may load, run or submit anything.
CSP = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
)


@router.get("/jobs/{job_id}/report")
def get_report(job_id: str, request: Request, caller: Authenticated) -> Response:
    """The report as JSON, HTML or Markdown, by ``Accept``."""
    kind = best_type(request.headers.get("accept", ""), tuple(REPORTS))
    if kind is None:
        raise Problem(406, "not_acceptable", f"the report comes as {', '.join(REPORTS)}")
    artifact = _report(caller, job_id, REPORTS[kind])
    headers = {"Vary": "Accept", "Content-Type": f"{kind}; charset=utf-8" if kind != "application/json" else kind}
    if kind == "text/html":
        headers["Content-Security-Policy"] = CSP
    return blob_response(request, caller, artifact, inline=True, headers=headers)


@router.get("/jobs/{job_id}/artifacts")
def get_artifacts(job_id: str, caller: Authenticated) -> dict[str, Any]:
    """The files that the job published."""
    return {"items": [render.artifact(row) for row in list_artifacts(caller.tenant, job_id)]}


@router.get("/jobs/{job_id}/logs")
def get_logs(
    job_id: str,
    request: Request,
    caller: Authenticated,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 5_000,
) -> Response:
    """The log lines of the job's process, as text (``Range: bytes=n-`` goes on where one left off) or JSON."""
    rows = list_events(caller.tenant, job_id, after, limit, "log")
    if best_type(request.headers.get("accept", ""), ("text/plain", "application/json")) == "application/json":
        items = [
            {"seq": row.seq, "message": row.data["message"], "created_at": instant(row.created_at)} for row in rows
        ]
        return JSONResponse({"items": items, "next_cursor": str(rows[-1].seq) if len(rows) == limit else None})
    text = "".join(_log_line(row) for row in rows).encode()
    headers = {"X-Content-Type-Options": "nosniff", "Accept-Ranges": "bytes"}
    # Lines are only ever added, so any byte range that was there stays what it was: no ETag is needed to go on.
    span = asked_span(request, len(text), "")
    if span is None:
        return Response(text, media_type="text/plain; charset=utf-8", headers=headers)
    headers["Content-Range"] = f"bytes {span[0]}-{span[1] - 1}/{len(text)}"
    return Response(text[span[0] : span[1]], 206, headers, media_type="text/plain; charset=utf-8")


@router.get("/artifacts/{artifact_id}")
def show_artifact(artifact_id: str, caller: Authenticated) -> dict[str, Any]:
    """One artifact's size, digest, role and media type."""
    return render.artifact(get_artifact(caller.tenant, artifact_id))


@router.get("/artifacts/{artifact_id}/content")
def get_content(artifact_id: str, request: Request, caller: Authenticated) -> Response:
    """The bytes of an artifact; one ``Range``, ``If-None-Match`` and ``If-Range`` are understood."""
    return blob_response(request, caller, get_artifact(caller.tenant, artifact_id))


@router.head("/artifacts/{artifact_id}/content")
def head_content(artifact_id: str, request: Request, caller: Authenticated) -> Response:
    """The headers that GET would send."""
    return blob_response(request, caller, get_artifact(caller.tenant, artifact_id))


def _report(caller: Caller, job_id: str, role: str) -> ArtifactView:
    found = [row for row in list_artifacts(caller.tenant, job_id) if row.role == role]
    if found:
        return found[0]
    job = get_job(caller.tenant, job_id)
    if not job.terminal:
        raise Problem(409, "job_not_terminal", f"job {job_id} is {job.status}; its report comes with its end")
    raise Problem(404, "not_found", f"job {job_id} ended as {job.status!r} and has no {role}")


def _log_line(row: EventView) -> str:
    text = str(row.data["message"])
    shown = "".join(c if c.isprintable() or c == "\t" else f"\\x{ord(c):02x}" for c in text)  # no escape sequences
    return f"{instant(row.created_at)} {shown}\n"
