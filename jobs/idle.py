"""How many workers of a class wait for work: as many rings are worth sending, and no more."""

from __future__ import annotations

import threading
import time
from collections import Counter

from jobs.database import Database
from jobs.store.workers import list_workers

KNOWN_S = 5.0  # a worker that became idle meanwhile looks by itself


class IdleWorkers:
    """The number of idle workers of a class, at least 1 (a worker may be starting), asked at most every 5 s."""

    def __init__(self, database: Database, silent_s: float) -> None:
        self._database = database
        self._silent_s = silent_s
        self._lock = threading.Lock()
        self._idle: Counter[str] = Counter()
        self._asked_at: float | None = None

    def __call__(self, job_class: str) -> int:
        """How many rings of this class are worth sending."""
        with self._lock:
            now = time.monotonic()
            if self._asked_at is None or now - self._asked_at > KNOWN_S:
                self._asked_at = now
                workers = list_workers(self._database, self._silent_s)
                self._idle = Counter(worker.job_class for worker in workers if worker.state == "idle")
            return max(1, self._idle[job_class])
