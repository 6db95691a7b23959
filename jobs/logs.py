"""Structured logs: one JSON object a line, with the ids of the request, job and trace that the line belongs to.

``with context(job_id=...)`` adds fields to every line that is logged inside, also by threads started with
:func:`in_context`. Names of users, keys and file contents are never logged.
"""

from __future__ import annotations

import contextvars
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

_FIELDS: contextvars.ContextVar[Mapping[str, Any]] = contextvars.ContextVar("log_fields", default={})  # noqa: B039
_MOST_CHARACTERS = 8000


@contextmanager
def context(**fields: Any) -> Iterator[None]:
    """Add fields to the lines logged inside; those that are None are left out."""
    token = _FIELDS.set({**_FIELDS.get(), **{name: value for name, value in fields.items() if value is not None}})
    try:
        yield
    finally:
        _FIELDS.reset(token)


def in_context(run: Callable[[], None]) -> Callable[[], None]:
    """The callable with the present fields, for a thread of its own."""
    present = contextvars.copy_context()
    return lambda: present.run(run)


class JsonLines(logging.Formatter):
    """One JSON object a line.

    Example:
        >>> record = logging.LogRecord("a.b", logging.INFO, "", 0, "took %d", (3,), None)
        >>> with context(job_id="job_1"):
        ...     line = json.loads(JsonLines().format(record))
        >>> line["message"], line["level"], line["job_id"]
        ('took 3', 'info', 'job_1')
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, whatever is in it."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:_MOST_CHARACTERS],
            **_FIELDS.get(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)[-_MOST_CHARACTERS:]
        return json.dumps(line, ensure_ascii=False, default=str)


def set_up(level: str, form: Literal["json", "text"], stream: TextIO | None = None) -> None:
    """Send every logger's lines to standard error in this form."""
    handler = logging.StreamHandler(stream or sys.stderr)
    plain = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    handler.setFormatter(JsonLines() if form == "json" else logging.Formatter(plain))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
