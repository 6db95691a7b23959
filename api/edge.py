"""The outermost layer, plain ASGI: request ids, the limit of JSON bodies, the last resort for errors."""

from __future__ import annotations

import logging
import re
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import answer, internal
from api.problems import Problem

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_RAW = re.compile(r"/v1/blobs/[^/]*")  # counts its own bytes
logger = logging.getLogger("spikebit.api")


class Edge:
    """Middleware; ``BaseHTTPMiddleware`` would put a queue between the server and every uploaded chunk.

    Args:
        app: the application.
        max_json_bytes: limit of every body but a blob's.
    """

    def __init__(self, app: ASGIApp, max_json_bytes: int) -> None:
        self._app = app
        self._limit = max_json_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else "req_" + secrets.token_hex(12)
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_marked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        request = Request(scope, receive)
        try:
            if not _RAW.fullmatch(scope["path"]):
                self._check(scope, headers)
                receive = _limited(receive, self._limit)
            await self._app(scope, receive, send_marked)
        except Problem as problem:
            if not started:
                await answer(request, problem)(scope, receive, send_marked)
        except Exception as error:
            logger.error("request %s %s %s", request_id, scope["method"], scope["path"])
            response = await internal(request, error)
            if not started:
                await response(scope, receive, send_marked)

    def _check(self, scope: Scope, headers: Headers) -> None:
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._limit:
            raise _too_large(self._limit, int(length))
        has_body = length not in ("", "0") or "transfer-encoding" in headers
        kind = headers.get("content-type", "application/json").split(";")[0].strip().lower()
        if scope["method"] in ("POST", "PUT", "PATCH") and has_body and kind != "application/json":
            detail = f"expected a body of type application/json, found {kind[:80]!r}"
            raise Problem(415, "unsupported_media_type", detail)


def _limited(receive: Receive, limit: int) -> Receive:
    taken = 0

    async def receive_counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:  # an HTTPException, because FastAPI turns all others that reading a body raises into 400
            raise HTTPException(413, str(_too_large(limit, taken)))
        return message

    return receive_counted


def _too_large(limit: int, found: int) -> Problem:
    return Problem(413, "body_too_large", f"this body may have {limit} bytes, found {found} or more")
