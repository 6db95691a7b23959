"""The thread that finds work: rung by the doorbell, and by itself every few seconds, until nothing waits."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from sqlalchemy.exc import SQLAlchemyError

C = TypeVar("C")
_PAUSE_S = 1.0  # after an error, so that a broken database is not asked in a tight loop

_log = logging.getLogger(__name__)


class Handler(Protocol[C]):
    """Work of one class."""

    def begin(self) -> None:
        """Called once, in the looker's thread, before the first claim."""

    def end(self) -> None:
        """Called once, in the looker's thread, after the last."""

    def claim(self) -> C | None:
        """Take the next piece of work, if there is one."""

    def run(self, claim: C) -> None:
        """Do it and record how it ended; returns early when the worker is told to stop."""


class Looker(threading.Thread, Generic[C]):
    """Claims and runs until ``stopping``; ``bell`` wakes it, as does the end of ``look_s``.

    Args:
        handler: what is done.
        bell: set by the doorbell (and by whoever sets ``stopping``).
        stopping: set when the worker is told to end.
        look_s: seconds between looks when nobody rings.
        looked: called once, after the first look.
        died: called when the thread ends by an error that it cannot live with, so that the process can end too.
    """

    def __init__(
        self,
        handler: Handler[C],
        bell: threading.Event,
        stopping: threading.Event,
        look_s: float,
        looked: Callable[[], None] = lambda: None,
        died: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(name="looker", daemon=True)
        self._handler = handler
        self._bell = bell
        self._stopping = stopping
        self._look_s = look_s
        self._looked = looked
        self._died = died
        self._first = True
        self.claimed: C | None = None  # what it works on now

    def run(self) -> None:
        """Look, work, wait."""
        try:
            self._look_until_stopped()
        except BaseException:
            _log.exception("the looker cannot go on")
            self._died()
            raise

    def _look_until_stopped(self) -> None:
        self._handler.begin()
        try:
            while not self._stopping.is_set():
                self._bell.clear()  # before the look: a ring that comes during it is not lost
                if not self._work_once():
                    self._bell.wait(self._look_s)
        finally:
            self._handler.end()

    def _work_once(self) -> bool:
        try:
            claim = self._handler.claim()
            if self._first:
                self._first = False
                self._looked()
            if claim is None:
                return False
            self.claimed = claim
            try:
                self._handler.run(claim)
            finally:
                self.claimed = None
        except SQLAlchemyError as error:
            _log.error("the database does not answer: %s", error)
            self._stopping.wait(_PAUSE_S)
        except Exception:
            _log.exception("unexpected error; an unfinished claim goes to the next attempt when its lease ends")
            self._stopping.wait(_PAUSE_S)
        return True
