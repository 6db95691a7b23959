"""The doorbell: says "there is work of this class" to whoever listens.

A lost ring costs at most ``look_s`` seconds, because workers also look by themselves; so ringing is best effort, never
blocks its caller and never raises. Celery is loaded on the bell's own thread: a process that starts need not wait
for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobs.trace import HEADER

if TYPE_CHECKING:
    from celery import Celery

RING_TASK = "spikebit.ring"
RING_TIMEOUT_S = 0.5
SILENCE_S = 5.0  # after a failure: a dead Redis is asked again only now and then
MOST_RINGS = 8  # of one class in Redis where nobody says how many workers are idle
TURNS, TURN_S = 20, 0.005  # how long one process waits for another that rings for the same class
MAX_WAITING_RINGS = 64  # more say nothing new: one ring makes a worker look until nothing is left


@dataclass(frozen=True)
class BellState:
    """For ``/readyz``: does the bell work, and how often did it."""

    ok: bool
    detail: str
    rung: int
    failed: int
    dropped: int


class Doorbell:
    """Rings on a thread of its own.

    Args:
        redis_url: None: there is no bell; every ring is dropped silently.
        app: the Celery app to send with; default: one made for ``redis_url`` at the first ring.
        most_rings: how many rings of a class may wait in Redis; more would wake nobody. Asked on the bell's thread.
    """

    def __init__(
        self,
        redis_url: str | None,
        app: Celery | None = None,
        most_rings: Callable[[str], int] = lambda job_class: MOST_RINGS,
    ) -> None:
        self._url = redis_url
        self._app = app
        self._most_rings = most_rings
        self._silent = redis_url is None and app is None
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="doorbell")
        self._lock = threading.Lock()
        self._waiting = 0
        self._rung = 0
        self._failed = 0
        self._dropped = 0
        self._last_error: str | None = None
        self._silent_until = 0.0
        if not self._silent:
            self._pool.submit(self._load)  # now, so that the first request does not share the CPU with an import

    def ring(self, job_class: str, job_id: str | None = None, trace: str | None = None) -> None:
        """Say that there is work of this class; returns at once. ``trace`` is the request's ``traceparent``."""
        if self._silent:
            return
        with self._lock:
            if self._waiting >= MAX_WAITING_RINGS or time.monotonic() < self._silent_until:
                self._dropped += 1
                return
            self._waiting += 1
        try:
            self._pool.submit(self._send, job_class, job_id, trace)
        except RuntimeError:  # closed: the process is ending
            with self._lock:
                self._waiting -= 1

    def state(self) -> BellState:
        """Counts so far and the last error, if the last ring failed."""
        with self._lock:
            if self._silent:
                return BellState(False, "no doorbell is configured; workers look by themselves", 0, 0, 0)
            error = self._last_error
            return BellState(error is None, error or "ok", self._rung, self._failed, self._dropped)

    def close(self) -> None:
        """Stop ringing; waits for at most one send."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _send(self, job_class: str, job_id: str | None, trace: str | None) -> None:
        error: str | None = None
        sent = True
        with self._lock:
            if time.monotonic() < self._silent_until:  # it failed while this ring waited
                self._waiting -= 1
                self._dropped += 1
                return
        try:
            sent = self._publish(job_class, job_id, trace)
        except Exception as failure:  # whatever the transport raises: a ring must never hurt its caller
            error = f"{type(failure).__name__}: {failure}"
        with self._lock:
            self._waiting -= 1
            self._last_error = error
            self._rung += error is None and sent
            self._dropped += error is None and not sent
            self._failed += error is not None
            if error is not None:
                self._silent_until = time.monotonic() + SILENCE_S

    def _publish(self, job_class: str, job_id: str | None, trace: str | None) -> bool:
        """Send, unless as many rings wait as there are workers to hear them: False."""
        app: Any = self._load()
        headers = {} if trace is None else {HEADER: trace}
        with _alone(app, job_class) as waiting:
            if waiting is None or waiting >= self._most_rings(job_class):
                return False
            app.send_task(
                RING_TASK, args=[job_class, job_id], queue=job_class, ignore_result=True, retry=False, headers=headers
            )
            return True

    def _load(self) -> Celery:
        if self._app is None:
            from jobs.queue import make_app

            self._app = make_app(self._url, answer_within_s=RING_TIMEOUT_S)
        return self._app


@contextmanager
def _alone(app: Any, job_class: str) -> Iterator[int | None]:
    """Look and send with no other process between the two: yields how many rings of the class no worker has taken yet.

    None: others ring for this class all the time, which is as good. On a transport that is no Redis nobody is kept out.
    """
    with app.pool.acquire(block=True, timeout=RING_TIMEOUT_S) as connection:
        client = getattr(connection.default_channel, "client", None)
        if client is None or not hasattr(client, "llen"):
            yield 0
            return
        name = f"{job_class}.ringing"
        for _ in range(TURNS):
            if client.set(name, 1, nx=True, px=round(2000 * RING_TIMEOUT_S)):
                break
            time.sleep(TURN_S)
        else:
            yield None
            return
        try:
            yield int(client.llen(job_class))
        finally:
            client.delete(name)
