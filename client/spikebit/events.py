"""A job's event stream (WHATWG server-sent events), read across lost connections."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import httpx

from spikebit.errors import Problem, Unreachable, WaitTimeout

PATIENCE_S = 300.0  # longer than any restart or deployment of the service takes
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
_COMES_BACK = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class Event:
    """One event: its number, which has no gaps within a job, its kind, and what it says."""

    seq: int
    kind: str
    data: dict[str, Any]


def follow_events(
    connect: Callable[[int], AbstractContextManager[httpx.Response]],
    after: int,
    deadline: float | None,
    patience_s: float,
    sleep: Callable[[float], None],
) -> Iterator[Event]:
    """Events behind number ``after`` until the job has ended; each exactly once.

    Args:
        connect: opens the stream behind a number.
        after: the last number that the caller has seen.
        deadline: on ``time.monotonic``; None: no end.
        patience_s: how long the service may be away.
        sleep: how to pause.

    Raises:
        Problem: the service refused for good (no such job, wrong key).
        Unreachable: it was away for too long.
        WaitTimeout: ``deadline`` passed.
    """
    last, pause, lost_at = after, _FIRST_PAUSE_S, None
    while True:
        reason: Exception | None = None
        try:
            with connect(last) as answer:
                for event in parse_events(answer.iter_lines()):
                    _check(deadline)
                    pause, lost_at = _FIRST_PAUSE_S, None
                    if event is None:
                        continue
                    if event.kind == "end":
                        return
                    if event.seq > last:
                        last = event.seq
                        yield event
        except Problem as problem:
            if problem.status not in _COMES_BACK:
                raise
            reason = problem
        except (Unreachable, httpx.TransportError) as error:
            reason = error
        _check(deadline)
        now = time.monotonic()
        lost_at = now if lost_at is None else lost_at
        if reason is not None and now - lost_at > patience_s:
            raise Unreachable(f"the service was away for {patience_s:g} s: {reason}", code="unreachable") from reason
        sleep(pause)
        pause = min(_LONGEST_PAUSE_S, 2 * pause)


def parse_events(lines: Iterable[str]) -> Iterator[Event | None]:
    """Whole events of a stream; None for a comment, by which the service says that it is still there.

    Example:
        >>> list(parse_events([": hello", "id: 3", "event: state", 'data: {"data": {"status": "running"}}', ""]))
        [None, Event(seq=3, kind='state', data={'status': 'running'})]
    """
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            yield None
        elif line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        else:
            if fields.get("event"):
                said = json.loads(fields.get("data") or "{}")
                yield Event(int(fields.get("id") or 0), fields["event"], said.get("data") or {})
            fields = {}


def _check(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise WaitTimeout("the job did not end in the given time and goes on", code="timeout")
