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
from jobs.store import JobClaim, NewArtifact, Problem, claims, endings
from worker.attempt import Attempt, Broken, End, Finished, Stopped
from worker.heartbeat import Heartbeat
from worker.persist import until_written
from worker.process import WarmPool
from worker.protocol import ProtocolError
from worker.service import Service
from worker.workspace import Workspace

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
        return claims.claim_job(self._service.database, "compute", self._service.worker, lease_s)

    def run(self, claim: JobClaim) -> None:
        """One attempt, to its end."""
        _log.info("job %s attempt %d: claimed", claim.job_id, claim.token)
        self._supervise(claim)

    def _supervise(self, claim: JobClaim) -> None:
        database, settings = self._service.database, self._service.settings

        def beat() -> claims.Beat:
            return claims.heartbeat(database, claim, settings.lease_s)

        with Heartbeat(beat, settings.heartbeat_s) as heart, self._workspace.folder("attempt") as folder:
            attempt = Attempt(self._service, claim, folder, heart, self._pool, self._stopping)
            try:
                end = attempt.run()
                if isinstance(end, Finished):
                    end = self._publish(claim, attempt.stage(end.outcome), end.outcome.verdict, heart)
            except ProtocolError as error:
                end = Broken(Problem("worker_lost", str(error)), again=True)
            except (OSError, BlobMissing, BaseError) as error:
                _log.exception("job %s attempt %d", claim.job_id, claim.token)
                end = Broken(Problem("service_unavailable", f"disk or blob store: {error}"), again=True)
            self._pool.prepare()
            until_written(partial(self._record, claim, end), partial(self._no_use, heart))
            attempt.forget_checkpoint()

    def _publish(self, claim: JobClaim, artifacts: list[NewArtifact], verdict: str, heart: Heartbeat) -> End:
        if heart.lost:
            return Stopped("lost")
        database = self._service.database
        ending = until_written(
            partial(endings.publish, database, claim, artifacts, verdict), partial(self._no_use, heart)
        )
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
            ending = endings.fail(database, claim, end.problem, retry_up_to=attempts)
            _log.info("job %s attempt %d: %s: %s", claim.job_id, claim.token, end.problem.code, end.problem.detail)
        elif isinstance(end, Stopped) and end.why == "cancelling":
            ending = endings.confirm_cancelled(database, claim)
        elif isinstance(end, Stopped) and end.why == "released":
            ending = endings.release(database, claim)
        else:
            ending = end.why if isinstance(end, Stopped) else "published"
        _log.info("job %s attempt %d: %s", claim.job_id, claim.token, ending)
