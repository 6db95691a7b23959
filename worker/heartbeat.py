"""Keeps a lease alive from a thread of its own, so that no slow copy can lose it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol, Self

from sqlalchemy.exc import SQLAlchemyError

_log = logging.getLogger(__name__)


class Answer(Protocol):
    """What the store says to a beat."""

    @property
    def held(self) -> bool:
        """Whether the claim is still ours."""

    @property
    def cancel(self) -> bool:
        """Whether the user wants the job cancelled."""


class Heartbeat:
    """Calls ``beat`` every ``interval_s`` until the claim is lost or the ``with`` block ends.

    A database that does not answer is no loss by itself: the beat is repeated, and every write is guarded anyway.

    Args:
        beat: prolongs the lease; its answer says whether the claim is held and whether to cancel.
        interval_s: time between beats.

    Example:
        >>> from types import SimpleNamespace
        >>> with Heartbeat(lambda: SimpleNamespace(held=True, cancel=False), 60) as heart:
        ...     heart.lost, heart.cancelled
        (False, False)
    """

    def __init__(self, beat: Callable[[], Answer], interval_s: float) -> None:
        self._beat = beat
        self._interval_s = interval_s
        self._end = threading.Event()
        self._lost = threading.Event()
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def lost(self) -> bool:
        """Another worker may hold the claim: write nothing more."""
        return self._lost.is_set()

    @property
    def cancelled(self) -> bool:
        """The user asked for an end."""
        return self._cancelled.is_set()

    def report_lost(self) -> None:
        """A guarded write was refused: the same as a refused beat."""
        self._lost.set()

    def _run(self) -> None:
        while not self._end.wait(self._interval_s):
            try:
                answer = self._beat()
            except SQLAlchemyError as error:
                _log.warning("heartbeat failed, trying again: %s", error)
                continue
            if not answer.held:
                self._lost.set()
                return
            if answer.cancel:
                self._cancelled.set()
