"""The thread in every worker that clears up after dead ones; a lease in the database lets one at a time do it."""

from __future__ import annotations

import logging
import math
import threading
import time

from sqlalchemy.exc import SQLAlchemyError

from jobs.store import Swept, acquire_lease, release_lease, sweep
from worker.service import Service

LEASE_NAME = "sweep"
_LEASE_SWEEPS = 3  # a holder that misses this many sweeps is replaced
_MOST_RINGS = 8  # per class and sweep; a worker that is rung looks until nothing is left
_COLLECT_EVERY_S = 600.0

_log = logging.getLogger(__name__)


class Sweeper(threading.Thread):
    """Sweeps every ``sweep_s`` while it holds the lease.

    Args:
        service: where.
        job_class: this worker's own class; work of it that waits also sets ``bell``.
        bell: the looker's.
        stopping: ends the thread.
    """

    def __init__(self, service: Service, job_class: str, bell: threading.Event, stopping: threading.Event) -> None:
        super().__init__(name="sweeper", daemon=True)
        self._service = service
        self._job_class = job_class
        self._bell = bell
        self._stopping = stopping
        self._collected_at = -math.inf

    def run(self) -> None:
        """Sweep until the worker ends, then let another one do it."""
        service = self._service
        while not self._stopping.wait(service.settings.sweep_s):
            try:
                self.sweep_once()
            except (SQLAlchemyError, OSError) as error:
                _log.warning("sweep failed, trying again: %s", error)
            except Exception:
                _log.exception("sweep failed, trying again")
        try:
            release_lease(service.database, LEASE_NAME, service.worker)
        except SQLAlchemyError as error:
            _log.warning("the sweep's lease runs out by itself: %s", error)

    def sweep_once(self) -> Swept | None:
        """One sweep, if the lease is ours; None where another worker sweeps."""
        service, settings = self._service, self._service.settings
        if not acquire_lease(service.database, LEASE_NAME, service.worker, settings.sweep_s * _LEASE_SWEEPS):
            return None
        swept = sweep(
            service.database,
            max_attempts=settings.max_attempts,
            rejected_keep_s=settings.rejected_keep_s,
            idempotency_keep_s=settings.idempotency_keep_s,
        )
        for tenant_id, blob in swept.rejected:
            service.blobs.drop(tenant_id, blob)
        for job_class, number in swept.waiting.items():
            if job_class == self._job_class:
                self._bell.set()
            for _ in range(min(number, _MOST_RINGS)):
                service.doorbell.ring(job_class)
        service.database.tidy()
        self._collect()
        if swept.requeued or swept.lost or swept.cancelled or swept.expired:
            _log.info("swept: %s", swept)
        return swept

    def _collect(self) -> None:
        if time.monotonic() - self._collected_at < _COLLECT_EVERY_S:
            return
        self._collected_at = time.monotonic()
        self._service.blobs.collect(self._service.settings.collect_after_s)
