"""What a request needs from the process: settings, database, blobs, doorbell, and who is asking."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from api.metrics import Metrics
from api.problems import Problem
from api.watch import Hub
from jobs.blobs import Blobs
from jobs.database import Database
from jobs.doorbell import Doorbell
from jobs.settings import Settings
from jobs.store import Principal, Tenant, UploadView, verify_key

KEY_KNOWN_S = 2.0  # a revoked key works for at most so long; saves a query and a thread per request
MAX_KNOWN_KEYS = 1024


@dataclass
class Service:
    """The process's parts; ``stopping`` ends waiting requests early when the server is told to end."""

    settings: Settings
    database: Database
    blobs: Blobs
    bell: Doorbell
    hub: Hub
    metrics: Metrics
    stopping: bool = False
    streams: dict[str, int] = field(default_factory=dict)  # open event streams per key
    known_keys: dict[bytes, tuple[Principal, float]] = field(default_factory=dict)  # by hash, with their time
    known_inputs: dict[tuple[str, str, str], tuple[UploadView, UploadView]] = field(default_factory=dict)


@dataclass(frozen=True)
class Caller:
    """Who asks, and the parts that serve them."""

    tenant: Tenant
    key_id: str
    service: Service
    admin: bool = False


def service_of(request: Request) -> Service:
    """The process's parts."""
    service = request.app.state.service
    if not isinstance(service, Service):
        raise TypeError(f"app.state.service must be a Service, got {type(service).__name__}")
    return service


_BEARER = HTTPBearer(auto_error=False, description="A key of the form spk_...")  # for /openapi.json; we parse it


async def authenticate(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)] = None
) -> Caller:
    """The caller that the bearer key speaks for.

    Raises:
        Problem: 401 ``unauthorized``.
    """
    service = service_of(request)
    if given is None or not given.credentials.strip():
        raise _unauthorized("expected the header 'Authorization: Bearer spk_...'")
    principal = await _principal(service, given.credentials.strip())
    if principal is None:
        raise _unauthorized("the key is unknown, expired or revoked")
    return Caller(Tenant(service.database, principal.tenant_id), principal.key_id, service, principal.admin)


Authenticated = Annotated[Caller, Depends(authenticate)]


def authorize_operator(caller: Authenticated) -> Caller:
    """The caller, where the key may operate the service.

    Raises:
        Problem: 403 ``forbidden``.
    """
    if not caller.admin:
        raise Problem(403, "forbidden", "this key may not operate the service; expected one with the scope 'admin'")
    return caller


Operator = Annotated[Caller, Depends(authorize_operator)]


async def _principal(service: Service, key: str) -> Principal | None:
    digest = hashlib.sha256(key.encode()).digest()
    known, until = service.known_keys.get(digest, (None, 0.0))
    if known is not None and time.monotonic() < until:
        return known
    principal = await run_in_threadpool(verify_key, service.database, key)
    if len(service.known_keys) >= MAX_KNOWN_KEYS:
        service.known_keys.clear()
    if principal is not None:
        service.known_keys[digest] = (principal, time.monotonic() + KEY_KNOWN_S)
    return principal


def _unauthorized(detail: str) -> Problem:
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="spikebit"'})
