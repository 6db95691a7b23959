"""One attempt of one job: claim, prepare, run in a child, publish; and every way in which it can end otherwise.

The supervisor computes nothing. It owns the lease, the clock and all writes; each write is conditional on the claim,
so a supervisor whose lease was swept away kills its child and leaves no trace.
"""

from __future__ import annotations

import logging
import threading
from functools import partial

from obstore.exceptions import BaseError

from jobs.blobs import BlobMissing
from jobs.logs import context
from jobs.storage import FULL, is_full
from jobs.store import JobClaim, Problem, claims, endings
from jobs.trace import trace_id
from worker.attempt import Attempt, Broken, End, Finished, Stopped
from worker.heartbeat import Heartbeat
from worker.persist import until_written, while_collected
from worker.process import WarmPool
from worker.protocol import OutcomeLine, ProtocolError
from worker.service import Service
from worker.workspace import Workspace

# What an attempt can lack that time may bring; everything else that is worth a second attempt is tried at once.
_WANTS = frozenset({"out_of_memory", "service_unavailable", FULL})

_log = logging.getLogger(__name__)


class JobSupervisor:
    """Runs compute jobs, one at a time, in the thread that calls :meth:`run`.

    Args:
        service: database, blobs and settings.
        workspace: where attempts get their folders.
        pool: where children come from.
        stopping: set when this worker is told to end; the running job is then given back.
    """

    def __init__(self, service: Service, workspace: Workspace, pool: WarmPool, stopping: threading.Event) -> None:
        self._service = service
        self._workspace = workspace
        self._pool = pool
        self._stopping = stopping

    def begin(self) -> None:
        """Start the warm child; children belong to the thread that calls this."""
        self._pool.prepare()

    def end(self) -> None:
        """End the warm child."""
        self._pool.close()

    def claim(self) -> JobClaim | None:
        """The next job of this worker's class, if one waits."""
        lease_s = self._service.settings.lease_s
        service = self._service
        return claims.claim_job(service.database, service.job_class, service.worker, lease_s)

    def run(self, claim: JobClaim) -> None:
        """One attempt, to its end."""
        ids = {"job_id": claim.job_id, "attempt": claim.token, "request_id": claim.request_id}
        with context(**ids, trace_id=trace_id(claim.trace)):
            _log.info("claimed after %.3f s", claim.waited_s)
            self._service.counts.observe_latency(claim.waited_s)
            self._supervise(claim)

    def _supervise(self, claim: JobClaim) -> None:
        database, settings = self._service.database, self._service.settings

        def beat() -> claims.Beat:
            return claims.heartbeat(database, claim, settings.lease_s)

        def look() -> claims.Beat:
            return claims.look(database, claim)

        pulse = Heartbeat(beat, settings.heartbeat_s, look, settings.cancel_look_s)
        with pulse as heart, self._workspace.folder("attempt") as folder:
            attempt = Attempt(self._service, claim, folder, heart, self._pool, self._stopping)
            try:
                end = attempt.run()
                if isinstance(end, Finished):
                    end = while_collected(partial(self._stage_and_publish, attempt, claim, end.outcome, heart))
            except ProtocolError as error:
                end = Broken(Problem("worker_lost", str(error)), again=True)
            except (OSError, BlobMissing, BaseError) as error:
                _log.exception("disk or blob store")
                code = FULL if is_full(error) else "service_unavailable"
                end = Broken(Problem(code, f"disk or blob store: {error}"), again=True)
            self._pool.prepare()
            until_written(partial(self._record, claim, end), partial(self._no_use, heart))
            attempt.forget_checkpoint()

    def _stage_and_publish(self, attempt: Attempt, claim: JobClaim, outcome: OutcomeLine, heart: Heartbeat) -> End:
        staged = attempt.stage(outcome)
        if heart.lost:
            return Stopped("lost")
        write = partial(endings.publish, self._service.database, claim, staged, outcome.verdict)
        ending = until_written(write, partial(self._no_use, heart))
        self._service.counts.add("bytes_published", sum(artifact.size for artifact in staged))
        return Stopped(ending)

    def _no_use(self, heart: Heartbeat) -> bool:
        """Waiting for the database is of no use: the claim is lost, or this worker has to end."""
        return heart.lost or self._stopping.is_set()

    def _record(self, claim: JobClaim, end: End) -> None:
        """Write how the attempt ended; publishing has written already, and a lost claim writes nothing."""
        database = self._service.database
        ending: str
        if isinstance(end, Broken):
            attempts = self._service.settings.max_attempts if end.again else 0
            pause_s = self._service.settings.retry_pause_s if end.problem.code in _WANTS else 0.0
            ending = endings.fail(database, claim, end.problem, retry_up_to=attempts, pause_s=pause_s)
            _log.info("failed: %s: %s", end.problem.code, end.problem.detail)
        elif isinstance(end, Stopped) and end.why == "cancelling":
            ending = endings.confirm_cancelled(database, claim)
        elif isinstance(end, Stopped) and end.why == "released":
            ending = endings.release(database, claim)
        else:
            ending = end.why if isinstance(end, Stopped) else "published"
        _log.info("attempt ended: %s", ending)
        self._service.counts.add(f"attempts:{self._service.job_class}:{ending}")
        if ending == "lost":
            self._service.counts.add("lease_losses")
