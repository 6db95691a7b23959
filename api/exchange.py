"""Small parts of HTTP that several routes share: Prefer, Idempotency-Key, Accept, cursors, timestamps."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from fastapi import Request

from api.problems import Problem
from jobs.store import Key, Page

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\"?")
_KEY = re.compile(r"[\x21-\x7e]{1,200}")
DEFAULT_LIMIT, MAX_LIMIT = 50, 200


def wait_seconds(request: Request, most: float) -> float:
    """Seconds of ``Prefer: wait=n`` (RFC 7240), capped; 0 where the caller does not want to wait."""
    found = _WAIT.search(request.headers.get("prefer", ""))
    return min(float(found.group(1)), most) if found else 0.0


def idempotency_key(request: Request, route: str, body: Any) -> Key | None:
    """The caller's key with the fingerprint of the body in canonical form.

    Raises:
        Problem: 400 ``invalid_idempotency_key``: it is not 1 to 200 visible ASCII characters.
    """
    given = request.headers.get("idempotency-key")
    if given is None:
        return None
    if not _KEY.fullmatch(given):
        detail = "Idempotency-Key must have 1 to 200 visible ASCII characters without spaces"
        raise Problem(400, "invalid_idempotency_key", detail)
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return Key(route, given, hashlib.sha256(canonical.encode()).hexdigest())


def page_of(cursor: str | None, limit: int) -> Page:
    """The page that an opaque cursor names.

    Raises:
        Problem: 400 ``invalid_cursor``.
    """
    if cursor is None:
        return Page(limit)
    try:
        at, identity = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        return Page(limit, (datetime.fromisoformat(at), str(identity)))
    except (ValueError, TypeError, binascii.Error) as error:
        raise Problem(400, "invalid_cursor", "the cursor is not one that this service gave") from error


def next_cursor(rows: Sequence[Any], limit: int) -> str | None:
    """The cursor behind the last row of the page; None where nothing follows. ``rows`` may hold one row too many."""
    if len(rows) <= limit:
        return None
    last = rows[limit - 1]
    token = json.dumps([last.created_at.astimezone(UTC).isoformat(), last.id])
    return base64.urlsafe_b64encode(token.encode()).decode()


def best_type(accept: str, offered: Sequence[str]) -> str | None:
    """The offered media type that an Accept header likes best (RFC 9110, 12.5.1); ties: the first offered.

    Example:
        >>> best_type("text/*;q=0.5, application/json", ("text/html", "application/json"))
        'application/json'
        >>> best_type("image/png", ("text/html",)) is None
        True
    """
    wanted: dict[str, float] = {}
    for part in (accept or "*/*").split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        wanted[name] = quality

    def liking(media_type: str) -> float:
        for name in (media_type, media_type.split("/")[0] + "/*", "*/*"):
            if name in wanted:
                return wanted[name]
        return 0.0

    best = max(offered, key=liking)
    return best if liking(best) > 0 else None


def instant(value: datetime | None) -> str | None:
    """RFC 3339 in UTC.

    Example:
        >>> instant(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
        '2026-01-02T03:04:05.000000Z'
    """
    return None if value is None else value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
