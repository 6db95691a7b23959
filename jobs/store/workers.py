"""The register of workers: who lives, with what, doing what; and drains, by which an operator stops claims."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite

from jobs.database import Database
from jobs.records import Drain, Worker

RETIRED = "retired"  # keeps the counts of workers that are gone, so that a sum over all rows never falls


@dataclass(frozen=True)
class WorkerReport:
    """What a worker says of itself at every beat."""

    name: str
    job_class: str
    host: str
    device: str | None
    engine_version: str
    state: str
    job_id: str | None
    counts: Mapping[str, float]


@dataclass(frozen=True)
class WorkerView:
    """A worker as it was last seen."""

    name: str
    job_class: str
    host: str
    device: str | None
    engine_version: str
    state: str
    job_id: str | None
    started_at: datetime
    seen_at: datetime
    counts: dict[str, Any]


def report_worker(database: Database, report: WorkerReport) -> None:
    """Register a worker, or refresh what is known of it."""
    insert = sqlite.insert if database.is_sqlite else postgresql.insert
    with database.write() as session:
        now = database.now(session)
        values = vars(report) | {"counts": dict(report.counts), "seen_at": now}
        changed = {name: value for name, value in values.items() if name != "name"}
        session.execute(
            insert(Worker).values(**values, started_at=now).on_conflict_do_update(index_elements=["name"], set_=changed)
        )


def forget_worker(database: Database, name: str) -> None:
    """A worker ends in order: its counts stay, its row goes."""
    with database.write() as session:
        row = session.get(Worker, name, with_for_update=True)
        if row is not None:
            _retire(session, row, database.now(session))


def forget_dead_workers(database: Database, silent_s: float) -> list[str]:
    """The same for workers that were not heard of for so long; returns their names."""
    with database.write() as session:
        now = database.now(session)
        silent = (Worker.seen_at < now - timedelta(seconds=silent_s), Worker.name != RETIRED)
        dead = session.scalars(select(Worker).where(*silent).with_for_update(skip_locked=True)).all()
        for row in dead:
            _retire(session, row, now)
        return [row.name for row in dead]


def list_workers(database: Database, silent_s: float) -> list[WorkerView]:
    """Workers that were heard of within ``silent_s``, by name."""
    with database.read() as session:
        since = database.now(session) - timedelta(seconds=silent_s)
        live = select(Worker).where(Worker.seen_at >= since, Worker.name != RETIRED).order_by(Worker.name)
        return [_view(row) for row in session.scalars(live)]


def worker_counts(database: Database) -> dict[str, float]:
    """The sum of what all workers have counted since the service was made, the dead ones included."""
    total: dict[str, float] = {}
    with database.read() as session:
        for counts in session.scalars(select(Worker.counts)):
            _add(total, counts)
    return total


def drain(database: Database, scope: str) -> None:
    """Workers in the scope (``*``, a host, a worker's name) claim nothing from now on and give back what they run."""
    insert = sqlite.insert if database.is_sqlite else postgresql.insert
    with database.write() as session:
        values = {"scope": scope, "since": database.now(session)}
        session.execute(insert(Drain).values(**values).on_conflict_do_nothing())


def resume(database: Database, scope: str) -> bool:
    """End a drain; False: there was none of this scope."""
    with database.write() as session:
        ended = session.execute(delete(Drain).where(Drain.scope == scope).returning(Drain.scope))
        return ended.scalar_one_or_none() is not None


def list_drains(database: Database) -> list[tuple[str, datetime]]:
    """(scope, since) of all drains."""
    with database.read() as session:
        return [(row.scope, row.since) for row in session.scalars(select(Drain).order_by(Drain.scope))]


def _retire(session: Any, row: Worker, now: datetime) -> None:
    kept = session.get(Worker, RETIRED, with_for_update=True)
    if kept is None:
        values = dict(job_class=RETIRED, host="", device=None, engine_version="", state=RETIRED, job_id=None)
        kept = Worker(name=RETIRED, **values, started_at=now, seen_at=now, counts={})
        session.add(kept)
    counts = dict(kept.counts)
    _add(counts, row.counts)
    kept.counts, kept.seen_at = counts, now
    session.delete(row)
    session.flush()


def _add(total: dict[str, float], counts: Mapping[str, Any]) -> None:
    for name, value in counts.items():
        total[name] = total.get(name, 0.0) + float(value)


def _view(row: Worker) -> WorkerView:
    return WorkerView(
        row.name,
        row.job_class,
        row.host,
        row.device,
        row.engine_version,
        row.state,
        row.job_id,
        row.started_at,
        row.seen_at,
        dict(row.counts),
    )
