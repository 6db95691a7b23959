"""What a worker counts for ``/metrics``: few names, no ids; the API adds up the rows of all workers."""

from __future__ import annotations

import threading

LATENCY_BUCKETS_S = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)


class Counts:
    """Numbers that only grow while this process lives.

    Example:
        >>> counts = Counts()
        >>> counts.add("attempts:compute:published")
        >>> counts.observe_latency(0.3)
        >>> sorted(counts.snapshot())[:2]
        ['attempts:compute:published', 'claim_latency:count']
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers: dict[str, float] = {}

    def add(self, name: str, number: float = 1.0) -> None:
        """Count."""
        with self._lock:
            self._numbers[name] = self._numbers.get(name, 0.0) + number

    def observe_latency(self, seconds: float) -> None:
        """How long a job could have been claimed before it was."""
        for bound in LATENCY_BUCKETS_S:
            if seconds <= bound:
                self.add(f"claim_latency:le:{bound:g}")
        self.add("claim_latency:sum", seconds)
        self.add("claim_latency:count")

    def snapshot(self) -> dict[str, float]:
        """All numbers."""
        with self._lock:
            return dict(self._numbers)
