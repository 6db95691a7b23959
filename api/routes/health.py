"""Is the process alive, can it serve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from api.context import service_of
from api.metrics import CONTENT_TYPE
from jobs.database import SCHEMA_VERSION, Database
from jobs.settings import engine_version

router = APIRouter(tags=["health"])


@router.get("/livez")
def livez() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok", "version": engine_version()}


@router.get("/readyz", responses={503: {"description": "The database or the blob store is down"}})
def readyz(request: Request) -> Response:
    """Database and blob store decide; a silent doorbell is a detail, because workers also look by themselves."""
    service = service_of(request)
    checks = {"database": _checked(lambda: _schema(service.database)), "blobs": _checked(service.blobs.check)}
    ready = all(check["ok"] for check in checks.values())
    body = {"status": "ready" if ready else "unavailable", "checks": checks | {"doorbell": vars(service.bell.state())}}
    return JSONResponse(
        body, 200 if ready else 503, {"Cache-Control": "no-store"} | ({} if ready else {"Retry-After": "2"})
    )


@router.get("/metrics", response_class=Response)
def metrics(request: Request) -> Response:
    """Numbers for Prometheus; without a key, and without anything of a user in them."""
    return Response(service_of(request).metrics.render(), media_type=CONTENT_TYPE)


def _schema(database: Database) -> None:
    if not database.fits():
        raise RuntimeError(f"expected a schema that {SCHEMA_VERSION} works on, found {database.check()}")


def _checked(check: Callable[[], Any]) -> dict[str, Any]:
    try:
        check()
    except Exception as error:  # whatever a driver raises: the answer is that it is down
        return {"ok": False, "detail": type(error).__name__}
    return {"ok": True, "detail": "ok"}
