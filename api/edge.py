"""The outermost layer, plain ASGI: request ids and traces, the limit of JSON bodies, log and counters, the last
resort for errors.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import answer, internal
from api.problems import Problem
from jobs.logs import context
from jobs.trace import HEADER, continue_trace, trace_id

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_RAW = re.compile(r"/v1/blobs/[^/]*")  # counts its own bytes
_PROBES = ("/livez", "/readyz", "/metrics")
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
        trace = continue_trace(headers.get(HEADER))
        scope.setdefault("state", {}).update(request_id=request_id, trace=trace)
        exchange = Exchange(receive, send, {"X-Request-Id": request_id, HEADER: trace})
        with context(request_id=request_id, trace_id=trace_id(trace)):
            await self._serve(scope, headers, exchange)
            self._account(scope, exchange)

    async def _serve(self, scope: Scope, headers: Headers, exchange: Exchange) -> None:
        request = Request(scope, exchange.receive)
        receive: Receive = exchange.receive
        try:
            if not _RAW.fullmatch(scope["path"]):
                self._check(scope, headers)
                receive = _limited(receive, self._limit)
            await self._app(scope, receive, exchange.send)
        except Problem as problem:
            if not exchange.status:
                await answer(request, problem)(scope, receive, exchange.send)
        except Exception as error:
            logger.error("%s %s", scope["method"], scope["path"])
            response = await internal(request, error)
            if not exchange.status:
                await response(scope, receive, exchange.send)

    def _account(self, scope: Scope, exchange: Exchange) -> None:
        """One line of log and the process's counters; probes are counted, not logged."""
        route = getattr(scope.get("route"), "path", "other")
        service = getattr(scope["app"].state, "service", None) if "app" in scope else None
        if service is not None:
            service.metrics.request(
                route, scope["method"], exchange.status, exchange.head_s, exchange.came, exchange.went
            )
        if route not in _PROBES:
            fields = {"route": route, "status": exchange.status, "ms": round(1000 * exchange.head_s, 2)}
            logger.info("%s %s", scope["method"], scope["path"][:200], extra={"fields": fields})

    def _check(self, scope: Scope, headers: Headers) -> None:
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._limit:
            raise _too_large(self._limit, int(length))
        has_body = length not in ("", "0") or "transfer-encoding" in headers
        kind = headers.get("content-type", "application/json").split(";")[0].strip().lower()
        if scope["method"] in ("POST", "PUT", "PATCH") and has_body and kind != "application/json":
            detail = f"expected a body of type application/json, found {kind[:80]!r}"
            raise Problem(415, "unsupported_media_type", detail)


class Exchange:
    """Both directions of one request, counted; the head of the answer gets our headers."""

    def __init__(self, receive: Receive, send: Send, headers: Mapping[str, str]) -> None:
        self._receive = receive
        self._send = send
        self._headers = headers
        self._began = time.perf_counter()
        self.status = 0  # 0: nothing was answered
        self.head_s = 0.0
        self.came = 0
        self.went = 0

    async def receive(self) -> Message:
        """The next message of the client."""
        message = await self._receive()
        self.came += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        """The next message to the client."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.head_s = time.perf_counter() - self._began
            headers = MutableHeaders(scope=message)
            for name, value in self._headers.items():
                headers[name] = value
        self.went += len(message.get("body", b""))
        await self._send(message)


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
