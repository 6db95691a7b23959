"""The state of a stack when its slice is over: records by plain SQL, objects of the store, and what the API shows."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Connection, create_engine, text

from benchmarks.bucket import Bucket
from benchmarks.chaos.history import History

SERVED_CLASSES = ("compute", "intake")
_QUERIES = {
    "jobs": "SELECT id, status, verdict, label, job_class, attempt, event_seq, lease_until, problem FROM jobs",
    "attempts": "SELECT job_id, number, outcome, code FROM attempts",
    "artifacts": "SELECT job_id, role, path, digest FROM artifacts WHERE expired_at IS NULL",
    "checkpoints": "SELECT job_id, digest FROM checkpoints",
    "events": "SELECT job_id, seq, kind, data FROM events",
    "blobs": "SELECT digest, touched_at FROM blobs",
}


def write_records(history: History, name: str, url: str, clock_step_s: float) -> None:
    """Every record of the stack as ``row`` lines.

    Args:
        history: where.
        name: the stack's.
        url: of its database.
        clock_step_s: SQLite alone: by how much its clock is ahead of this host's.
    """
    engine = create_engine(url)
    with engine.connect() as connection:
        now = _now(connection, clock_step_s)
        for table, query in _QUERIES.items():
            for row in connection.execute(text(query)).mappings():
                history.write("row", name, table=table, values=_values(table, dict(row), now))
        for table in ("models", "datasets", "exports"):
            for row in connection.execute(text(f"SELECT id, status, blob, canonical FROM {table}")).mappings():
                digests = [row[column] for column in ("blob", "canonical") if row[column]]
                history.write("row", name, table="uploads", values={"status": row["status"], "digests": digests})
    engine.dispose()


def write_objects(history: History, name: str, store: Bucket | Path, clock_step_s: float) -> None:
    """Every object of the store as an ``object`` line."""
    now = time.time() + clock_step_s
    if isinstance(store, Bucket):
        with store.lock:
            found = [(key.rpartition("/")[2], one.put_at) for key, one in store.objects.items()]
    else:
        found = [(path.name, path.stat().st_mtime) for path in store.rglob("*") if path.is_file()]
    for hexadecimal, put_at in found:
        history.write("object", name, digest=f"sha256:{hexadecimal}", age_s=round(now - put_at, 1))


def write_served(history: History, name: str, http: httpx.Client) -> None:
    """Every job as the API shows it."""
    for job in _pages(http, "/v1/jobs"):
        ids = [event["seq"] for event in _pages(http, f"/v1/jobs/{job['id']}/events")]
        history.write("served", name, job=job["id"], status=job["status"], verdict=job["verdict"], ids=ids)


def _pages(http: httpx.Client, path: str) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    while True:
        answer = http.get(path, params={"limit": 200} | ({"cursor": cursor} if cursor else {}))
        answer.raise_for_status()
        page = answer.json()
        yield from page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return


def _now(connection: Connection, clock_step_s: float) -> datetime:
    if connection.dialect.name == "sqlite":
        return datetime.fromtimestamp(time.time() + clock_step_s, UTC)
    now: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return now


def _values(table: str, row: dict[str, Any], now: datetime) -> dict[str, Any]:
    if table == "jobs":
        until, problem = _instant(row.pop("lease_until")), _json(row.pop("problem")) or {}
        row["lease_left_s"] = None if until is None else (until - now).total_seconds()
        row["class_served"] = row.pop("job_class") in SERVED_CLASSES
        return row | {"code": problem.get("code"), "detail": problem.get("detail")}
    if table == "events":
        data = _json(row.pop("data")) or {}
        return row | {"status": data.get("status") if row.pop("kind") == "state" else None}
    if table == "blobs":
        touched = _instant(row.pop("touched_at"))
        return row | {"age_s": 0.0 if touched is None else round((now - touched).total_seconds(), 1)}
    return row


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _instant(value: Any) -> datetime | None:
    """PostgreSQL gives an aware instant, SQLite naive UTC text."""
    if value is None or isinstance(value, datetime):
        return value
    return datetime.fromisoformat(str(value)).replace(tzinfo=UTC)
