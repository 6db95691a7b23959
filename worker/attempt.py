"""The part of an attempt that talks to a child: prepare, start, watch, until it ends in one of few ways."""

from __future__ import annotations

import logging
import queue
import re
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from obstore.exceptions import BaseError
from sqlalchemy.exc import DBAPIError

from jobs.store import JobClaim, NewArtifact, Problem, claims
from jobs.trace import continue_trace
from worker.files import Prepared, keep_checkpoint, prepare, stage
from worker.heartbeat import Heartbeat
from worker.persist import until_written, while_collected
from worker.process import Child, Event, Exit, Rubbish, WarmPool, describe_status
from worker.progress import StepProgress
from worker.protocol import CheckpointWritten, Done, Failed, JobLine, Log, OutcomeLine, Progress, Started
from worker.service import Service

TICK_S = 0.1
_LOG_LINE_CHARACTERS = 4000
_STEP_BEGINS = re.compile(r"step (\d+) of \d+: ")  # what the engine's run says as it begins one
_LOG_LINES_AT_END = 10  # at most this many lines' worth of the child's own output go into the job's log

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finished:
    """The child has done its work; files are in ``out``."""

    outcome: OutcomeLine


@dataclass(frozen=True)
class Broken:
    """The attempt failed; ``again``: another attempt may do better."""

    problem: Problem
    again: bool


@dataclass(frozen=True)
class Stopped:
    """The attempt was ended from outside: ``cancelled``, ``released`` or ``lost``."""

    why: str


End = Finished | Broken | Stopped


class Attempt:
    """One attempt of one job.

    Args:
        service: database, blobs and settings.
        claim: the right to it.
        folder: private to it.
        heart: keeps the claim, and knows when it is lost or to be cancelled.
        pool: where its child comes from.
        stopping: set when this worker is told to end.
    """

    def __init__(
        self,
        service: Service,
        claim: JobClaim,
        folder: Path,
        heart: Heartbeat,
        pool: WarmPool,
        stopping: threading.Event,
    ) -> None:
        self._service = service
        self._claim = claim
        self._folder = folder
        self._heart = heart
        self._stopping = stopping
        self._pool = pool
        self._started = False
        self._progress = ProgressThrottle(self._write_progress, service.settings.progress_s)
        self._handlers: dict[type[Event], Callable[..., End | None]] = {
            Started: self._on_started,
            Progress: self._on_progress,
            CheckpointWritten: self._on_checkpoint,
            Log: self._on_log,
            Done: self._on_done,
            Failed: self._on_failed,
            Rubbish: self._on_rubbish,
            Exit: self._on_exit,
        }
        self._child: Child | None = None
        self._steps = StepProgress([str(step["kind"]) for step in claim.spec.get("steps", [])])
        self._release_by: float | None = None
        self._checkpoint = None if claim.checkpoint is None else claim.checkpoint.digest

    def run(self) -> End:
        """Prepare, start, watch; the child is dead when this returns."""
        begun = time.monotonic()
        left = self._claim.run_seconds_left
        deadline = None if left is None else begun + left
        if left is not None and left <= 0:
            return self._deadline_passed()
        files = prepare(self._service, self._claim, self._folder)
        self._killed_before = killed_by_kernel()
        child = self._child = self._pool.take()
        end: End | None = None
        try:
            child.send_job(self._job_line(files))
            end = self._watch(child, deadline)
            self._progress.flush()
            return end
        finally:
            asked = isinstance(end, Stopped) or (isinstance(end, Broken) and end.problem.code == "run_deadline")
            child.stop(self._service.settings.stop_grace_s if asked else 0.0)
            if isinstance(end, Broken):
                self._keep_output(child)

    def stage(self, outcome: OutcomeLine) -> list[NewArtifact]:
        """Store the artifacts; they become visible when they are published."""
        return stage(self._service, self._claim, self._folder / "out", outcome.artifacts)

    def forget_checkpoint(self) -> None:
        """Drop the last checkpoint's blob, unless a later attempt needs it; else the collector does it a day later."""
        if self._checkpoint is None:
            return
        try:
            self._service.blobs.drop(self._claim.tenant_id, self._checkpoint)
        except (DBAPIError, OSError, BaseError) as error:
            _log.warning("checkpoint not dropped: %s", error)

    def _watch(self, child: Child, deadline: float | None) -> End:
        must_start_by = time.monotonic() + self._service.settings.warm_start_s
        while True:
            now = time.monotonic()
            if self._heart.lost:
                return Stopped("lost")
            if self._heart.cancelled:
                return Stopped("cancelling")
            if self._to_release(now):
                return Stopped("released")
            if deadline is not None and now > deadline:
                return self._deadline_passed()
            if not self._started and now > must_start_by:
                return Broken(Problem("worker_lost", "the child did not start in time"), again=True)
            self._progress.flush_if_due()
            try:
                event = child.events.get(timeout=TICK_S)
            except queue.Empty:
                continue
            handler = self._handlers.get(type(event))
            end = handler(event) if handler is not None else None
            if end is not None:
                return end

    def _to_release(self, now: float) -> bool:
        """Is this worker to give the job back, and is there no more reason to wait for a checkpoint."""
        if not (self._stopping.is_set() or self._heart.drained):
            return False
        if self._release_by is None:
            self._release_by = now + self._service.settings.drain_s
            _log.info("to be given back, at the next checkpoint or in %g s", self._service.settings.drain_s)
        return now >= self._release_by

    def _job_line(self, files: Prepared) -> JobLine:
        settings, job = self._service.settings, self._claim.spec
        limits = {
            "open_files": settings.child_open_files,
            "file_bytes": settings.child_file_bytes,
            "core_bytes": 0,
        }
        # CUDA reserves address space far beyond what it uses, so the limit would refuse every job there.
        if settings.child_memory_bytes is not None and job.get("device", "cpu") == "cpu":
            limits["address_space_bytes"] = settings.child_memory_bytes
        if settings.device_memory_bytes is not None and job.get("device", "cpu") != "cpu":
            limits["device_memory_bytes"] = settings.device_memory_bytes
        resume = None if files.resume is None else str(files.resume)
        trace = None if self._claim.trace is None else continue_trace(self._claim.trace)
        return JobLine(job=job, inputs=files.inputs, out=str(files.out), resume=resume, limits=limits, trace=trace)

    def _on_started(self, _: Started) -> None:
        self._started = True
        self._progress.put(Progress(stage="started", done=0, total=1))
        self._pool.prepare()  # the next job finds a warm child even if it comes right after this one

    def _on_progress(self, event: Progress) -> None:
        self._progress.put(event)

    def _on_checkpoint(self, event: CheckpointWritten) -> End | None:
        digest = while_collected(partial(self._keep_checkpoint, event.path))
        if digest is None:
            return Stopped("lost")
        if digest != self._checkpoint:
            self.forget_checkpoint()
        self._checkpoint = digest
        if self._release_by is not None:  # what was waited for: the next attempt begins exactly here
            return Stopped("released")
        if self._child is not None:
            self._child.acknowledge(event.number)
        return None

    def _keep_checkpoint(self, path: str) -> str | None:
        """Store it and make it visible; its digest, or None where the claim is lost."""
        blob = keep_checkpoint(self._service, self._claim, self._folder, path)
        write = partial(claims.checkpoint, self._service.database, self._claim, blob.digest, blob.size)
        visible = until_written(write, lambda: self._heart.lost or self._stopping.is_set())
        return blob.digest if visible else None

    def _on_log(self, event: Log) -> None:
        if begun := _STEP_BEGINS.match(event.message):
            self._steps.begin_step(int(begun.group(1)) - 1)
        self._write_log(event.message)

    def _on_done(self, event: Done) -> End:
        return Finished(event.outcome)

    def _on_failed(self, event: Failed) -> End:
        again = not event.deterministic or not self._started
        return Broken(Problem(event.code, event.detail, event.pointer), again)

    def _on_rubbish(self, event: Rubbish) -> End:
        return Broken(Problem("worker_lost", event.detail), again=True)

    def _on_exit(self, event: Exit) -> End:
        if event.code == 137 or (event.code == -signal.SIGKILL and killed_by_kernel() != self._killed_before):
            return Broken(Problem("out_of_memory", "the child was killed for want of memory"), again=True)
        how = describe_status(event.code)
        return Broken(Problem("worker_lost", f"the child ended without a result ({how})"), again=True)

    def _deadline_passed(self) -> Broken:
        return Broken(Problem("run_deadline", "the run deadline passed"), again=False)

    def _write_progress(self, event: Progress) -> None:
        metrics = {name: value for name, value in event.metrics.items() if value is not None}
        place = self._steps.place(event.stage, event.done, event.total)
        self._tell(
            partial(
                claims.progress,
                self._service.database,
                self._claim,
                event.stage,
                event.done,
                event.total,
                event.message,
                metrics,
                place,
            )
        )

    def _write_log(self, message: str) -> None:
        keep = self._service.settings.max_log_events
        self._tell(partial(claims.log, self._service.database, self._claim, message, keep))

    def _tell(self, write: Callable[[], bool]) -> None:
        """Write what is nice to know: a database that is away for a moment must not end a long run."""
        try:
            if not write():
                self._heart.report_lost()
        except DBAPIError as error:
            _log.warning("not written: %s", error)

    def _keep_output(self, child: Child) -> None:
        """The end of what a failed child printed (its traceback) goes into the job's log."""
        if self._heart.lost:
            return
        text = child.log.getvalue().decode(errors="replace").strip()[-_LOG_LINES_AT_END * _LOG_LINE_CHARACTERS :]
        for begin in range(0, len(text), _LOG_LINE_CHARACTERS):
            self._write_log(text[begin : begin + _LOG_LINE_CHARACTERS])


class ProgressThrottle:
    """Writes at most one progress per interval, always the newest; the last one is never lost.

    Example:
        >>> written = []
        >>> throttle = ProgressThrottle(written.append, interval_s=60)
        >>> for done in range(3): throttle.put(Progress(stage="evaluate", done=done, total=3))
        >>> throttle.flush()
        >>> [event.done for event in written]
        [0, 2]
    """

    def __init__(self, write: Callable[[Progress], None], interval_s: float) -> None:
        self._write = write
        self._interval_s = interval_s
        self._pending: Progress | None = None
        self._due = 0.0

    def put(self, event: Progress) -> None:
        """Take the newest progress."""
        self._pending = event
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Write what waits, if the interval is over."""
        if time.monotonic() >= self._due:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._pending is None:
            return
        event, self._pending = self._pending, None
        self._due = time.monotonic() + self._interval_s
        self._write(event)


def killed_by_kernel() -> int:
    """How many processes the kernel has killed for want of memory since boot (0 where it does not say)."""
    try:
        with Path("/proc/vmstat").open() as lines:
            return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0
