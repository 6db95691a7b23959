"""Bytes of an artifact over HTTP: ETag, one Range, 304, Repr-Digest, Content-Disposition (RFC 9110, 9530, 6266)."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from urllib.parse import quote

from fastapi import Request
from starlette.responses import Response, StreamingResponse

from api.context import Caller
from api.exchange import instant
from api.problems import Problem
from jobs.blobs import CHUNK
from jobs.store import ArtifactView

_RANGE = re.compile(r"bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*(,.*)?", re.IGNORECASE)


def blob_response(
    request: Request,
    caller: Caller,
    artifact: ArtifactView,
    *,
    inline: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer to a GET or HEAD of an artifact's bytes.

    Raises:
        Problem: 416 ``range_not_satisfiable``: outside the file, or more than one range; 410 ``artifact_expired``.
    """
    if artifact.expired_at is not None:
        detail = f"the bytes of {artifact.path} were dropped by policy at {instant(artifact.expired_at)}"
        raise Problem(410, "artifact_expired", detail)
    digest = artifact.digest.removeprefix("sha256:")
    etag = f'"{digest}"'
    common = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=31536000, immutable",
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(digest)).decode()}:",
        "X-Content-Type-Options": "nosniff",
        "Content-Type": artifact.media_type,
    }
    if not inline:
        common["Content-Disposition"] = _disposition(artifact.path)
    common |= dict(headers or {})
    if _matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers={k: v for k, v in common.items() if k != "Content-Type"})
    span = asked_span(request, artifact.size, etag)
    start, end = span if span is not None else (0, artifact.size)
    common["Content-Length"] = str(end - start)
    if span is not None:
        common["Content-Range"] = f"bytes {start}-{end - 1}/{artifact.size}"
    status = 200 if span is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=common)
    body = caller.service.blobs.stream(caller.tenant.id, artifact.digest, start, end)
    if end - start <= CHUNK:
        return Response(b"".join(body), status_code=status, headers=common)
    first = next(body)  # opened here: a missing object is a problem document, not a broken stream
    return StreamingResponse(_chain(first, body), status_code=status, headers=common)


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _matches(given: str | None, etag: str) -> bool:
    if given is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in given.split(",")]
    return "*" in tags or etag in tags


def asked_span(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    """(start, end) of the asked range, end exclusive; None: the whole file.

    Raises:
        Problem: 416 ``range_not_satisfiable``.
    """
    header = request.headers.get("range")
    if header is None or request.headers.get("if-range", etag) != etag:
        return None
    found = _RANGE.fullmatch(header.strip())
    if found is None or not (found.group(1) or found.group(2)):
        return None  # an invalid or unknown range is ignored (RFC 9110, 14.2)
    if found.group(3):
        raise _unsatisfiable(size, "one range per request is served")
    if not found.group(1):
        start, end = max(0, size - int(found.group(2))), size
    else:
        start = int(found.group(1))
        end = min(size, int(found.group(2)) + 1) if found.group(2) else size
        if found.group(2) and int(found.group(2)) < start:
            return None
    if start >= end:
        raise _unsatisfiable(size, f"the file has {size} bytes, found range {header[:80]!r}")
    return start, end


def _unsatisfiable(size: int, detail: str) -> Problem:
    return Problem(416, "range_not_satisfiable", detail, headers={"Content-Range": f"bytes */{size}"})


def _disposition(path: str) -> str:
    name = PurePosixPath(path).name
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
