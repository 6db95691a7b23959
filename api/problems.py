"""Problem details (RFC 9457): every error that leaves the service has a stable ``code``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

MEDIA_TYPE = "application/problem+json"


SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance", "code", "request_id"],
    "properties": {
        **{name: {"type": "string"} for name in ("type", "title", "detail", "instance", "request_id")},
        "code": {"type": "string", "description": "Stable machine-readable word"},
        "status": {"type": "integer"},
        "pointer": {"type": "string", "description": "JSON pointer into the request"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in ("pointer", "code", "detail")},
            },
        },
    },
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {MEDIA_TYPE: {"schema": SCHEMA}}}
    for status, text in (("4XX", "The request was refused (RFC 9457)"), ("5XX", "The service failed (RFC 9457)"))
}


@dataclass(frozen=True)
class FieldError:
    """One place in the request that is wrong."""

    pointer: str
    code: str
    detail: str


class Problem(Exception):
    """An error with its answer.

    Args:
        status: HTTP status.
        code: stable machine-readable word.
        detail: what was expected and what was found.
        pointer: JSON pointer into the request's body.
        errors: every wrong place, where there are several.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        pointer: str | None = None,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.pointer = pointer
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    def document(self, instance: str, request_id: str) -> dict[str, Any]:
        """The body of the answer."""
        errors = self.errors
        if not errors and self.pointer is not None:
            errors = (FieldError(self.pointer, self.code, self.detail),)
        document: dict[str, Any] = {
            "type": f"urn:spikebit:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "code": self.code,
            "request_id": request_id,
        }
        if self.pointer is not None:
            document["pointer"] = self.pointer
        if errors:
            document["errors"] = [vars(error) for error in errors]
        return document


def invalid(code: str, detail: str, pointer: str | None = None) -> Problem:
    """422: well-formed, but it cannot be carried out."""
    return Problem(422, code, detail, pointer=pointer)


def pointer_to(location: Sequence[str | int]) -> str:
    """JSON pointer (RFC 6901) of a location.

    Example:
        >>> pointer_to(("steps", 0, "a/b"))
        '/steps/0/a~1b'
    """
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)
