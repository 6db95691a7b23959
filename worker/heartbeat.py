"""Keeps a lease alive from a thread of its own, so that no slow copy can lose it."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Protocol, Self

from sqlalchemy.exc import SQLAlchemyError

from jobs.logs import in_context

_log = logging.getLogger(__name__)


class Answer(Protocol):
    """What the store says to a beat."""

    @property
    def held(self) -> bool:
        """Whether the claim is still ours."""

    @property
    def cancel(self) -> bool:
        """Whether the user wants the job cancelled."""

    @property
    def drain(self) -> bool:
        """Whether this worker is to give its work back."""


class Heartbeat:
    """Calls ``beat`` every ``interval_s`` until the claim is lost or the ``with`` block ends.

    A database that does not answer is no loss by itself: the beat is repeated, and every write is guarded anyway.

    Args:
        beat: prolongs the lease; its answer says whether the claim is held and whether to cancel.
        interval_s: time between beats.
        look: asks the same without prolonging, every ``look_s`` between the beats; None: nobody asks.
        look_s: time between looks.

    Example:
        >>> from types import SimpleNamespace
        >>> with Heartbeat(lambda: SimpleNamespace(held=True, cancel=False, drain=False), 60) as heart:
        ...     heart.lost, heart.cancelled
        (False, False)
    """

    def __init__(
        self,
        beat: Callable[[], Answer],
        interval_s: float,
        look: Callable[[], Answer] | None = None,
        look_s: float = math.inf,
    ) -> None:
        self._beat = beat
        self._interval_s = interval_s
        self._look = look
        self._look_s = interval_s if look is None else min(look_s, interval_s)
        self._end = threading.Event()
        self._lost = threading.Event()
        self._cancelled = threading.Event()
        self._drained = threading.Event()
        self._thread = threading.Thread(target=in_context(self._run), name="heartbeat", daemon=True)

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

    @property
    def drained(self) -> bool:
        """An operator wants this worker to give its work back."""
        return self._drained.is_set()

    def report_lost(self) -> None:
        """A guarded write was refused: the same as a refused beat."""
        self._lost.set()

    def _run(self) -> None:
        due = time.monotonic() + self._interval_s
        while not self._end.wait(max(0.0, min(self._look_s, due - time.monotonic()))):
            beats = time.monotonic() >= due or self._look is None
            try:
                answer = self._beat() if beats or self._look is None else self._look()
            except SQLAlchemyError as error:
                _log.warning("heartbeat failed, trying again: %s", error)
                continue
            if beats:
                due = time.monotonic() + self._interval_s
            if not answer.held:
                self._lost.set()
                return
            if answer.cancel:
                self._cancelled.set()
            if answer.drain:
                self._drained.set()
