"""The thread in every worker that clears up after dead ones; a lease in the database lets one at a time do it."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from jobs.doorbell import MOST_RINGS
from jobs.settings import engine_version
from jobs.store import (
    Keep,
    Swept,
    WorkerReport,
    acquire_lease,
    end_cancelled,
    expire,
    forget_dead_workers,
    release_lease,
    report_worker,
    sweep,
)
from worker.service import Service

LEASE_NAME = "sweep"
_LEASE_SWEEPS = 3  # a holder that misses this many sweeps is replaced
_TICK_S = 2.0  # cancelled jobs of dead workers are looked for this often
_COLLECT_EVERY_S = 600.0

_log = logging.getLogger(__name__)


class Sweeper(threading.Thread):
    """Reports this worker every ``heartbeat_s``, and sweeps every ``sweep_s`` while it holds the lease.

    Args:
        service: where.
        bell: the looker's; set when work of this worker's own class waits.
        stopping: ends the thread.
        working_on: the id of the job that this worker runs now, or None.
    """

    def __init__(
        self,
        service: Service,
        bell: threading.Event,
        stopping: threading.Event,
        working_on: Callable[[], str | None] = lambda: None,
    ) -> None:
        super().__init__(name="sweeper", daemon=True)
        self._service = service
        self._bell = bell
        self._stopping = stopping
        self._working_on = working_on
        self._collected_at = -math.inf
        self._strays_at = -math.inf

    def run(self) -> None:
        """Tick until the worker ends, then let another one do it."""
        service, settings = self._service, self._service.settings
        sweep_at = time.monotonic() + settings.sweep_s
        report_at = time.monotonic()
        while not self._stopping.is_set():
            now = time.monotonic()
            if now >= report_at:
                report_at = now + settings.heartbeat_s
                self._guarded(self.report)
            if now >= sweep_at:
                sweep_at = now + settings.sweep_s
                self._guarded(self.sweep_once)
            self._guarded(self._end_cancelled)
            self._stopping.wait(max(0.0, min(_TICK_S, sweep_at - now, report_at - now)))
        try:
            release_lease(service.database, LEASE_NAME, service.worker)
            self.report()
        except SQLAlchemyError as error:
            _log.warning("the sweep's lease runs out by itself: %s", error)

    def report(self) -> None:
        """Say in the register who this worker is and what it does."""
        service = self._service
        job_id = self._working_on()
        state = "draining" if self._stopping.is_set() else "idle" if job_id is None else "busy"
        report_worker(
            service.database,
            WorkerReport(
                name=service.worker,
                job_class=service.job_class,
                host=service.worker.partition("@")[2].partition(":")[0],
                device=os.environ.get("CUDA_VISIBLE_DEVICES") if service.job_class == "cuda" else None,
                engine_version=engine_version(),
                state=state,
                job_id=job_id,
                counts=service.counts.snapshot(),
            ),
        )

    def _guarded(self, act: Callable[[], object]) -> None:
        try:
            act()
        except (SQLAlchemyError, OSError) as error:
            _log.warning("sweep failed, trying again: %s", error)
        except Exception:
            _log.exception("sweep failed, trying again")

    def _end_cancelled(self) -> None:
        if ended := end_cancelled(self._service.database):
            self._service.counts.add("lease_losses", len(ended))
            _log.info("ended cancelled jobs whose workers are silent: %s", ended)

    def sweep_once(self) -> Swept | None:
        """One sweep, if the lease is ours; None where another worker sweeps."""
        service, settings = self._service, self._service.settings
        if not acquire_lease(service.database, LEASE_NAME, service.worker, settings.sweep_s * _LEASE_SWEEPS):
            return None
        swept = sweep(
            service.database,
            max_attempts=settings.max_attempts,
            lease_s=settings.lease_s,
            rejected_keep_s=settings.rejected_keep_s,
            idempotency_keep_s=settings.idempotency_keep_s,
        )
        for tenant_id, blob in swept.rejected:
            service.blobs.drop(tenant_id, blob)
        service.counts.add("lease_losses", len(swept.requeued) + len(swept.lost) + len(swept.cancelled))
        for job_class, number in swept.waiting.items():
            if job_class == service.job_class:
                self._bell.set()
            for _ in range(min(number, MOST_RINGS)):  # the bell sends no more than there are idle workers
                service.doorbell.ring(job_class)
        service.database.tidy()
        self._collect()
        if swept.requeued or swept.lost or swept.cancelled or swept.expired:
            _log.info("swept: %s", swept)
        return swept

    def _collect(self) -> None:
        service, settings = self._service, self._service.settings
        if time.monotonic() - self._collected_at < min(_COLLECT_EVERY_S, settings.collect_after_s):
            return
        self._collected_at = time.monotonic()
        forget_dead_workers(service.database, settings.worker_silent_s)
        keep = Keep(settings.keep_jobs_s, settings.keep_artifacts_s, settings.keep_uploads_s)
        gone = expire(service.database, keep)
        if gone.jobs or gone.artifacts or gone.uploads:
            _log.info("expired: %s", gone)
        strays = time.monotonic() - self._strays_at >= settings.collect_after_s  # it lists the whole store
        if strays:
            self._strays_at = time.monotonic()
        service.blobs.collect(settings.collect_after_s, strays=strays)
