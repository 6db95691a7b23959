"""A job's events: a JSON page, or a stream that can be resumed (WHATWG server-sent events)."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse

from api import render
from api.context import Authenticated, Caller
from api.exchange import best_type
from api.problems import Problem
from api.watch import SLICE_S, JobState
from jobs.store import EventView, NotFound, job_version, list_events

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
BATCH = 500
HEARTBEAT_S = 15.0


@router.get("/{job_id}/events")
async def get_events(
    job_id: str,
    request: Request,
    caller: Authenticated,
    after: Annotated[int, Query(ge=0, description="Events behind this number")] = 0,
    cursor: Annotated[int | None, Query(ge=0, description="The same; from next_cursor")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> Response:
    """Events behind a number; with ``Accept: text/event-stream`` the past ones and then those to come."""
    last = after if cursor is None else cursor
    if best_type(request.headers.get("accept", ""), ("application/json", "text/event-stream")) == "application/json":
        rows = await run_in_threadpool(list_events, caller.tenant, job_id, last, limit)
        items = [render.event(row) for row in rows]
        return JSONResponse({"items": items, "next_cursor": str(rows[-1].seq) if len(rows) == limit else None})
    resumed = request.headers.get("last-event-id", "")
    if resumed.isdigit():
        last = int(resumed)
    await run_in_threadpool(job_version, caller.tenant, job_id)  # 404 before the stream begins
    streams = caller.service.streams
    most = caller.service.settings.streams_per_key
    if streams.get(caller.key_id, 0) >= most:
        detail = f"a key may hold {most} event streams open"
        raise Problem(429, "too_many_streams", detail, headers={"Retry-After": "5"})
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_stream(request, caller, job_id, last), media_type="text/event-stream", headers=headers)


async def _stream(request: Request, caller: Caller, job_id: str, last: int) -> AsyncIterator[str]:
    """Past events, then new ones until the job has ended (event ``end``), the caller leaves or the server stops."""
    service, tenant = caller.service, caller.tenant
    service.streams[caller.key_id] = service.streams.get(caller.key_id, 0) + 1
    until = time.monotonic() + service.settings.stream_max_s
    beat = time.monotonic()
    try:
        yield "retry: 2000\n\n"
        with service.hub.watch(tenant.id, job_id) as watch:
            seen: JobState | None = JobState(*await run_in_threadpool(job_version, tenant, job_id))
            while seen is not None and time.monotonic() < until and not service.stopping:
                while seen.events > last:
                    rows = await run_in_threadpool(list_events, tenant, job_id, last, BATCH)
                    if not rows:
                        break
                    yield "".join(_message(row) for row in rows)
                    last, beat = rows[-1].seq, time.monotonic()
                if seen.terminal and seen.events <= last:
                    break
                if time.monotonic() - beat > HEARTBEAT_S:
                    beat = time.monotonic()
                    yield ": still here\n\n"
                if await request.is_disconnected():
                    return
                seen = await watch.change(seen, SLICE_S)
            if seen is None or seen.terminal:
                yield f"id: {last}\nevent: end\ndata: {{}}\n\n"
    except NotFound:  # deleted while we watched
        yield "event: end\ndata: {}\n\n"
    finally:
        service.streams[caller.key_id] -= 1
        if not service.streams[caller.key_id]:
            del service.streams[caller.key_id]


def _message(row: EventView) -> str:
    return f"id: {row.seq}\nevent: {row.kind}\ndata: {json.dumps(render.event(row))}\n\n"
