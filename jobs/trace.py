"""W3C trace context (https://www.w3.org/TR/trace-context/): one trace from the HTTP request into the job's process.

``traceparent`` is ``00-{trace id, 32 hex}-{span id, 16 hex}-{flags, 2 hex}``. We make no spans of our own for a
collector; we keep the trace's id in every log line and hand it on, so that whoever collects can join them.
"""

from __future__ import annotations

import re
import secrets

HEADER = "traceparent"
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


def continue_trace(given: str | None) -> str:
    """A ``traceparent`` of ours: in the caller's trace where there is a valid one, else in a new one.

    Example:
        >>> parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        >>> ours = continue_trace(parent)
        >>> ours[:36] == parent[:36], ours[36:52] != parent[36:52]
        (True, True)
        >>> trace_id(continue_trace("rubbish")) != trace_id(parent)
        True
    """
    found = None if given is None else _FORM.fullmatch(given.strip())
    valid = (
        found is not None
        and found.group(1) != "ff"
        and not (found.group(1) == "00" and found.group(5))
        and set(found.group(2)) != {"0"}
        and set(found.group(3)) != {"0"}
    )
    trace, flags = (found.group(2), found.group(4)) if valid and found is not None else (secrets.token_hex(16), "00")
    return f"00-{trace}-{secrets.token_hex(8)}-{flags}"


def trace_id(traceparent: str | None) -> str | None:
    """The trace's id, for the log.

    Example:
        >>> trace_id("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        '4bf92f3577b34da6a3ce929d0e0e4736'
    """
    return None if traceparent is None else traceparent.split("-")[1]
