"""One reader for all who watch: however many streams and long polls wait, a process asks the database as often.

A watcher says what it has seen and is woken when the job is something else. The reader looks every 50 ms while jobs
change, every 0.3 s while they do not, and not at all while nobody watches.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from sqlalchemy import select, tuple_
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from jobs.database import Database
from jobs.records import TERMINAL, Job

SLICE_S = 0.5  # a watcher looks this often whether its caller is still there
_QUICK_S, _CALM_S, _BUSY_FOR_S = 0.05, 0.3, 1.0
_ASKED_AT_ONCE = 200  # rows of one query: below every limit of parameters

_log = logging.getLogger("spikebit.api")


class JobState(NamedTuple):
    """What a watcher has to know of a job."""

    version: int
    events: int
    terminal: bool


class _Watched:
    def __init__(self) -> None:
        self.watchers = 0
        self.known = False
        self.state: JobState | None = None
        self.changed = asyncio.Event()


class Watch:
    """One watcher's handle."""

    def __init__(self, watched: _Watched) -> None:
        self._watched = watched

    async def change(self, seen: JobState, most_s: float) -> JobState | None:
        """The job when it differs from ``seen``, or as it is after ``most_s``; None: it was deleted."""
        until = time.monotonic() + most_s
        watched = self._watched
        while not watched.known or watched.state == seen:
            left = until - time.monotonic()
            if left <= 0:
                return seen
            try:
                async with asyncio.timeout(left):
                    await watched.changed.wait()
            except TimeoutError:
                return watched.state if watched.known else seen
        return watched.state


class Hub:
    """The jobs that are watched in this process.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watched: dict[tuple[str, str], _Watched] = {}
        self._reader: asyncio.Task[None] | None = None
        self._busy_until = 0.0

    @property
    def jobs(self) -> int:
        """How many jobs are watched."""
        return len(self._watched)

    @contextmanager
    def watch(self, tenant_id: str, job_id: str) -> Iterator[Watch]:
        """Watch a job for as long as the block runs."""
        key = (tenant_id, job_id)
        watched = self._watched.setdefault(key, _Watched())
        watched.watchers += 1
        self._busy_until = time.monotonic() + _BUSY_FOR_S
        if self._reader is None or self._reader.done():
            self._reader = asyncio.get_running_loop().create_task(self._read())
        try:
            yield Watch(watched)
        finally:
            watched.watchers -= 1
            if not watched.watchers and self._watched.get(key) is watched:
                del self._watched[key]

    async def close(self) -> None:
        """Let the reader come to its end: a query that is cut off would keep its connection."""
        self._watched.clear()
        if self._reader is not None:
            await self._reader

    async def _read(self) -> None:
        while self._watched:
            await asyncio.sleep(_QUICK_S if time.monotonic() < self._busy_until else _CALM_S)
            keys = list(self._watched)
            if not keys:
                return
            try:
                found = await run_in_threadpool(self._look, keys)
            except SQLAlchemyError as error:
                _log.warning("watchers wait for the database: %s", error)
                await asyncio.sleep(_BUSY_FOR_S)
                continue
            for key in keys:
                if (watched := self._watched.get(key)) is not None:
                    self._tell(watched, found.get(key))

    def _tell(self, watched: _Watched, state: JobState | None) -> None:
        if watched.known and watched.state == state:
            return
        watched.known, watched.state = True, state
        self._busy_until = time.monotonic() + _BUSY_FOR_S
        watched.changed.set()
        watched.changed = asyncio.Event()

    def _look(self, keys: list[tuple[str, str]]) -> dict[tuple[str, str], JobState]:
        found = {}
        with self._database.read() as session:
            for begin in range(0, len(keys), _ASKED_AT_ONCE):
                query = select(Job.tenant_id, Job.id, Job.version, Job.event_seq, Job.status).where(
                    tuple_(Job.tenant_id, Job.id).in_(keys[begin : begin + _ASKED_AT_ONCE])
                )
                for tenant_id, identity, version, events, status in session.execute(query):
                    found[tenant_id, identity] = JobState(version, events, status in TERMINAL)
        return found
