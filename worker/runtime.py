"""A worker process: looker, sweeper and what starts and ends them. Celery only rings."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from typing import Any

from sqlalchemy.exc import OperationalError, SQLAlchemyError

from jobs.store import forget_worker
from worker.intake import IntakeSupervisor
from worker.looker import Looker
from worker.process import ChildCommand, WarmPool
from worker.service import Service, open_service
from worker.settings import WorkerSettings
from worker.supervisor import JobSupervisor
from worker.sweeper import Sweeper
from worker.workspace import Workspace

READY_VARIABLE = "SPIKEBIT_READY_FD"
_DATABASE_START_S = 60.0
_LAST_WORD_S = 3.0  # after the looker has ended, the rest of the process gets this long

_log = logging.getLogger(__name__)


class WorkerRuntime:
    """The threads of one worker.

    Args:
        settings: of this process.
        job_class: what it works on.
    """

    def __init__(self, settings: WorkerSettings, job_class: str) -> None:
        self.bell = threading.Event()
        self.stopping = threading.Event()
        self._settings = settings
        self._job_class = job_class
        self._service: Service | None = None
        self._workspace: Workspace | None = None
        self._threads: list[threading.Thread] = []
        self._asked_to_stop: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._leaving = threading.Lock()
        self._left = False

    def start(self) -> None:
        """Open the records and start looking.

        Raises:
            OperationalError: the database does not answer for a minute.
        """
        service = self._service = open_patiently(self._settings, self._job_class)
        self._workspace = Workspace(self._settings.temporary)
        looker: Looker[Any] = Looker(
            self._handler(service, self._workspace),
            self.bell,
            self.stopping,
            self._settings.look_s,
            looked=say_ready,
            died=_die,
        )

        def working_on() -> str | None:
            claim = looker.claimed
            return None if claim is None else str(getattr(claim, "job_id", None) or getattr(claim, "id", ""))

        self._threads = [looker, Sweeper(service, self.bell, self.stopping, working_on)]
        threading.Thread(target=self._stop_when_asked, name="stopper", daemon=True).start()
        for thread in self._threads:
            thread.start()
        _log.info("worker %s looks for work", service.worker)

    @property
    def working(self) -> bool:
        """Has it begun to look for work."""
        return bool(self._threads)

    def begin_stop(self) -> None:
        """Give the running job back and end. Returns at once, and may be called in a signal handler.

        Only ``SimpleQueue.put`` is safe there: an event's lock may be held by the very code that was interrupted.
        """
        self._asked_to_stop.put(None)

    def join(self) -> None:
        """Wait until the threads have ended and give everything back."""
        for thread in self._threads:
            thread.join()
        self._threads = []
        if self._workspace is not None:
            self._workspace.close()
            self._workspace = None
        if self._service is not None:
            self._leave(self._service)
            self._service.doorbell.close()
            self._service.database.close()
            self._service = None

    def _handler(self, service: Service, workspace: Workspace) -> JobSupervisor | IntakeSupervisor:
        if self._job_class == "intake":
            return IntakeSupervisor(service, workspace, self.stopping)
        command = ChildCommand(
            engine=self._settings.child_engine,
            log_bytes=self._settings.log_bytes,
            nice=self._settings.child_nice,
            extra_path=(self._settings.child_path,) if self._settings.child_path else (),
        )
        return JobSupervisor(service, workspace, WarmPool(command, self._settings.warm_child), self.stopping)

    def _stop_when_asked(self) -> None:
        """End the threads; a transport that hangs in its own shutdown does not keep the process alive."""
        self._asked_to_stop.get()
        threads, service = list(self._threads), self._service
        self.stopping.set()
        self.bell.set()
        for thread in threads:
            thread.join()
        if service is not None:
            self._leave(service)
        time.sleep(_LAST_WORD_S)
        os._exit(0)

    def _leave(self, service: Service) -> None:
        """Out of the register, once: by the main thread, or by the stopper where that one hangs or is slow."""
        with self._leaving:
            if not self._left:
                self._left = True
                with contextlib.suppress(SQLAlchemyError):
                    forget_worker(service.database, service.worker)


def open_patiently(settings: WorkerSettings, job_class: str) -> Service:
    """Open the service; a database that starts at the same time as this worker is waited for.

    Raises:
        OperationalError: it did not answer for a minute.
    """
    end = time.monotonic() + _DATABASE_START_S
    while True:
        try:
            return open_service(settings, job_class)
        except OperationalError as error:
            if time.monotonic() > end:
                raise
            _log.warning("the database does not answer yet: %s", error)
        time.sleep(1.0)


def _die() -> None:
    """Without a looker this process is of no use; whoever started it starts it again."""
    os._exit(1)


def say_ready() -> None:
    """Tell whoever started this process that it has looked for work once (a line on an inherited descriptor)."""
    fd = os.environ.pop(READY_VARIABLE, None)
    if fd is not None:
        with contextlib.suppress(OSError, ValueError):
            os.write(int(fd), b"ready\n")
            os.close(int(fd))
