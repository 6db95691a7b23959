"""Blobs: raw streams in, with a running digest. Never multipart, never a name from the client."""

from __future__ import annotations

import asyncio
import base64
import re

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from api.context import Authenticated
from api.problems import Problem
from jobs.blobs import BlobWriter
from jobs.store import BlobView, touch_blob

router = APIRouter(prefix="/v1/blobs", tags=["blobs"])
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_RAW_BODY = {
    "requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}


@router.put("/{digest}", status_code=201, responses={200: {"description": "Held already"}}, openapi_extra=_RAW_BODY)
async def put_blob(digest: str, request: Request, caller: Authenticated) -> Response:
    """Upload bytes whose SHA-256 is in the path."""
    _check_digest(digest)
    service, tenant_id = caller.service, caller.tenant.id
    promised = _promised(request, service.settings.max_upload_bytes)
    # The bytes are read even if they are held: who uploads proves to possess them, and learns nothing from us.
    with service.blobs.writer() as written:
        await _receive(request, written, service.settings.max_upload_bytes, promised, service.settings.upload_stall_s)
        _check_written(request, written, digest, promised)
        held = await run_in_threadpool(service.blobs.exists, tenant_id, digest)
        if held:
            await run_in_threadpool(touch_blob, caller.tenant, digest)
            view = BlobView(digest, written.size)
        else:
            view = await run_in_threadpool(service.blobs.place, tenant_id, written)
    headers = {"Location": f"/v1/blobs/{digest}"}
    return JSONResponse({"digest": view.digest, "size": view.size}, 200 if held else 201, headers)


@router.head("/{digest}")
def head_blob(digest: str, caller: Authenticated) -> Response:
    """Is the blob held; refreshes its age if so."""
    _check_digest(digest)
    view = caller.service.blobs.find(caller.tenant.id, digest)
    if view is None or not touch_blob(caller.tenant, digest):
        raise Problem(404, "not_found", f"there is no blob {digest}")
    return Response(headers={"Content-Length": str(view.size), "ETag": f'"{digest.removeprefix("sha256:")}"'})


async def _receive(request: Request, written: BlobWriter, most: int, promised: int | None, stall_s: float) -> None:
    """Stream the body into the file, hashing inline: threads would halve the speed (STACK 7)."""
    chunks = request.stream()
    while True:
        try:
            async with asyncio.timeout(stall_s):
                chunk = await anext(chunks, None)
        except (TimeoutError, ClientDisconnect) as error:
            found = f"{written.size} bytes came" + ("" if promised is None else f" of {promised} promised")
            raise Problem(
                400, "body_too_short", f"{found}, then the body ended", headers={"Connection": "close"}
            ) from error
        if chunk is None:
            return
        if written.size + len(chunk) > most:
            raise _too_large(most, written.size + len(chunk))
        written.write(chunk)


def _promised(request: Request, most: int) -> int | None:
    length = request.headers.get("content-length")
    if length is None:
        return None
    if int(length) > most:  # the server has checked that it is a number
        raise _too_large(most, int(length))
    return int(length)


def _check_written(request: Request, written: BlobWriter, digest: str, promised: int | None) -> None:
    if promised is not None and written.size < promised:
        raise Problem(400, "body_too_short", f"{promised} bytes were promised, {written.size} came")
    if written.digest != digest:
        detail = f"the body has digest {written.digest}, the path says {digest} ({written.size} bytes came)"
        raise Problem(422, "digest_mismatch", detail)
    stated = re.search(r"sha-256=:([A-Za-z0-9+/=]+):", request.headers.get("content-digest", ""))
    if stated and stated.group(1) != base64.b64encode(bytes.fromhex(digest[7:])).decode():
        raise Problem(422, "digest_mismatch", f"Content-Digest says {stated.group(1)}, the body has {digest}")


def _check_digest(digest: str) -> None:
    if not _DIGEST.fullmatch(digest):
        detail = f"expected sha256: and 64 lower-case hex digits, found {digest[:80]!r}"
        raise Problem(422, "validation_failed", detail)


def _too_large(most: int, found: int) -> Problem:
    return Problem(413, "body_too_large", f"a blob may have {most} bytes, found {found} or more")
