"""Writes that must not be lost to a database that is away for a moment."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from jobs.store import BlobGone

T = TypeVar("T")
_FIRST_DELAY_S = 0.2
_LONGEST_DELAY_S = 5.0
_STORE_TRIES = 3

_log = logging.getLogger(__name__)


def while_collected(store: Callable[[], T]) -> T:
    """Store blobs and write what refers to them; again where a collector took them before the write.

    Raises:
        OSError: it did so three times.

    Example:
        >>> while_collected(lambda: "done")
        'done'
    """
    for _ in range(_STORE_TRIES):
        with contextlib.suppress(BlobGone):
            return store()
    raise OSError(f"the store lost what was stored {_STORE_TRIES} times before it was referred to")


def until_written(write: Callable[[], T], give_up: Callable[[], bool]) -> T:
    """Repeat a guarded write until the database takes it.

    Repeating is safe: each write is guarded by the claim, so one that was committed although its answer got lost
    finds the claim gone the second time and changes nothing.

    Args:
        write: one short transaction.
        give_up: asked before each further try.

    Raises:
        DBAPIError: the database does not answer and ``give_up`` says that waiting is of no use.

    Example:
        >>> until_written(lambda: "done", give_up=lambda: True)
        'done'
    """
    delay = _FIRST_DELAY_S
    while True:
        try:
            return write()
        except DBAPIError as error:
            if give_up():
                raise
            _log.warning("the database does not answer, trying again in %.1f s: %s", delay, error)
        time.sleep(delay)
        delay = min(_LONGEST_DELAY_S, 2 * delay)
