"""Maps every exception that a route can let through to a problem document, in one place."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from obstore.exceptions import BaseError as BlobStoreError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.problems import MEDIA_TYPE, FieldError, Problem, pointer_to
from jobs.blobs import BlobMissing
from jobs.storage import FULL, is_full
from jobs.store import Conflict, KeyReused, NotFound

logger = logging.getLogger("spikebit.api")

_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 415: "unsupported_media_type"}
# The first part of a wrong field's place says which kind of thing is wrong.
_FIELD_CODES = {
    "steps": "invalid_step",
    "options": "invalid_step",
    "plan": "invalid_plan",
    "gates": "invalid_gates",
}


def install(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(NotFound, _store)
    app.add_exception_handler(Conflict, _store)
    app.add_exception_handler(KeyReused, _store)
    for kind in (OperationalError, InterfaceError, PoolTimeout, BlobStoreError, BlobMissing, OSError):
        app.add_exception_handler(kind, _unavailable)


def answer(request: Request, problem: Problem) -> Response:
    """The problem as a response."""
    request_id = request.scope.get("state", {}).get("request_id", "-")
    service = getattr(request.app.state, "service", None) if "app" in request.scope else None
    if service is not None:
        service.metrics.problem(problem.code)
    body = json.dumps(problem.document(request.url.path, request_id), ensure_ascii=False).encode()
    headers = {"Cache-Control": "no-store"} | problem.headers
    return Response(body, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


def validation_problem(
    errors: Iterable[Mapping[str, Any]], prefix: tuple[str | int, ...] = (), known: Iterable[str] = ()
) -> Problem:
    """Pydantic's errors as one problem; its code is that of the fields if they agree on one.

    Args:
        errors: as ``ValidationError.errors()`` gives them.
        prefix: where the validated part stands in the body.
        known: the part's own fields, told to who wrote another one.
    """
    fields = [_field(error, prefix, known) for error in errors]
    codes = {field.code for field in fields}
    code = codes.pop() if len(codes) == 1 else "validation_failed"
    detail = "; ".join(f"{field.pointer or 'body'}: {field.detail}" for field in fields[:5])
    if len(fields) > 5:
        detail += f"; and {len(fields) - 5} more"
    return Problem(422, code, detail, pointer=fields[0].pointer or None, errors=fields)


def _field(error: Mapping[str, Any], prefix: tuple[str | int, ...], known: Iterable[str]) -> FieldError:
    place = prefix + tuple(error["loc"])
    code = _FIELD_CODES.get(str(place[0]), "validation_failed") if place else "validation_failed"
    if place[:2] == ("dynamics", "set"):
        code = "invalid_dynamics"
    detail = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        names = ", ".join(known) if len(error["loc"]) == 1 else ""
        detail = f"unknown field {str(place[-1])[:80]!r}" + (f"; known: {names}" if names else "")
    given = error.get("input")
    if isinstance(given, str | int | float | bool) and error["type"] not in ("value_error", "extra_forbidden"):
        detail += f", found {str(given)[:80]!r}"
    return FieldError(pointer_to(place), code, detail)


async def _problem(request: Request, error: Exception) -> Response:
    return answer(request, error if isinstance(error, Problem) else _internal())


async def _validation(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        return answer(request, _internal())
    found = [dict(one) for one in error.errors()]
    for one in found:
        if one["type"] == "json_invalid":
            reason = (one.get("ctx") or {}).get("error", "not JSON")
            return answer(
                request, Problem(400, "invalid_json", f"the body is not JSON: {reason} at byte {one['loc'][-1]}")
            )
        if one["loc"] and one["loc"][0] == "body":
            one["loc"] = one["loc"][1:]
    return answer(request, validation_problem(found))


async def _http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return answer(request, _internal())
    code = _HTTP_CODES.get(error.status_code, "bad_request" if error.status_code < 500 else "internal_error")
    detail = str(error.detail)
    if error.status_code == 404:
        detail = f"there is no {request.url.path}"
    elif error.status_code == 405:
        detail = f"{request.method} is not possible on {request.url.path}"
    return answer(request, Problem(error.status_code, code, detail, headers=error.headers))


async def _store(request: Request, error: Exception) -> Response:
    status = {NotFound: 404, Conflict: 409, KeyReused: 422}[type(error)]
    code, detail = getattr(error, "code", "internal_error"), str(error)
    return answer(request, Problem(status, code, detail))


async def _unavailable(request: Request, error: Exception) -> Response:
    logger.error("database or blob store: %s: %s", type(error).__name__, error)
    if is_full(error):
        detail = "the disk or the store is full: nothing of this request was kept; its operator has to make room"
        return answer(request, Problem(507, FULL, detail))
    detail = "the database or the blob store does not answer; try again"
    return answer(request, Problem(503, "service_unavailable", detail, headers={"Retry-After": "2"}))


def _internal() -> Problem:
    return Problem(500, "internal_error", "the service failed; its log has the request_id")


async def internal(request: Request, error: Exception) -> Response:
    """The last resort: logged with its stack, told without."""
    logger.error("unexpected error", exc_info=error)
    return answer(request, _internal())
