"""The intake worker's side of models, datasets and exports: the same lease and token as jobs have."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from jobs.database import Database
from jobs.records import Dataset, Export, Model
from jobs.store.blob_rows import touch
from jobs.store.claims import Problem
from jobs.store.errors import BlobGone
from jobs.store.views import UploadKind

U = TypeVar("U", Model, Dataset, Export)
RECORDS: dict[UploadKind, type[Model] | type[Dataset] | type[Export]] = {
    "model": Model,
    "dataset": Dataset,
    "export": Export,
}


@dataclass(frozen=True)
class IntakeClaim:
    """The right to work on one upload or export; which of the optional fields are set depends on ``kind``."""

    tenant_id: str
    kind: UploadKind
    id: str
    token: int
    worker: str
    blob: str
    dynamics: dict[str, Any] | None = None
    repair: bool = False
    format: str | None = None
    transform: dict[str, Any] | None = None
    framework: str | None = None
    snippet: bool = False


def claim_intake(database: Database, worker: str, lease_s: float) -> IntakeClaim | None:
    """Claim the oldest upload that waits to be checked; None where none does."""
    with database.write() as session:
        now = database.now(session)
        waiting = [row for kind in RECORDS if (row := _oldest(session, kind)) is not None]
        if not waiting:
            return None
        row = min(waiting, key=lambda r: r.created_at)
        row.attempt += 1
        row.tries += 1
        row.worker = worker
        row.lease_until = now + timedelta(seconds=lease_s)
        common: dict[str, Any] = {
            "tenant_id": row.tenant_id,
            "id": row.id,
            "token": row.attempt,
            "worker": worker,
            "blob": row.blob,
        }
        if isinstance(row, Model):
            return IntakeClaim(**common, kind="model", dynamics=row.dynamics, repair=row.repair)
        if isinstance(row, Export):
            told: dict[str, Any] = {"dynamics": row.dynamics, "framework": row.framework, "snippet": row.snippet}
            return IntakeClaim(**common, kind="export", **told)
        return IntakeClaim(**common, kind="dataset", format=row.format, transform=row.transform)


def intake_heartbeat(database: Database, claim: IntakeClaim, lease_s: float) -> bool:
    """Prolong the lease; False: the claim is lost (or the record was deleted): stop the child."""
    with database.write() as session:
        until = database.now(session) + timedelta(seconds=lease_s)
        return _set(session, claim, {"lease_until": until})


def intake_ready(database: Database, claim: IntakeClaim, canonical: str, summary: dict[str, Any]) -> bool:
    """The upload is sound: keep its summary and the digest of its canonical form. False: claim lost.

    Raises:
        BlobGone: the collector took the canonical form in between (nothing is written).
    """
    with database.write() as session:
        now = database.now(session)
        values = {"status": "ready", "canonical": canonical, "summary": summary, "problem": None}
        done = _set(session, claim, values | {"checked_at": now, "lease_until": None, "worker": None})
        if done and not touch(session, claim.tenant_id, canonical, now):
            raise BlobGone(canonical)
        return done


def intake_rejected(database: Database, claim: IntakeClaim, problem: Problem) -> bool:
    """The upload is refused. True: drop its blob next (``Blobs.drop``), so nothing is stored. False: claim lost."""
    with database.write() as session:
        values = {"status": "rejected", "problem": problem.as_json(), "canonical": None, "summary": None}
        now = database.now(session)
        return _set(session, claim, values | {"checked_at": now, "lease_until": None, "worker": None})


def intake_release(database: Database, claim: IntakeClaim) -> bool:
    """Give the upload back because this worker is told to stop; the try does not count."""
    with database.write() as session:
        record = RECORDS[claim.kind]
        return _set(session, claim, {"lease_until": None, "worker": None, "tries": record.tries - 1})


def _oldest(session: Session, kind: UploadKind) -> Model | Dataset | Export | None:
    if kind == "export":
        return _oldest_of(session, Export)
    return _oldest_of(session, Model) if kind == "model" else _oldest_of(session, Dataset)


def _oldest_of(session: Session, record: type[U]) -> U | None:
    query = (
        select(record)
        .where(record.status == "checking", record.lease_until.is_(None))
        .order_by(record.created_at, record.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return session.scalars(query).one_or_none()


def _set(session: Session, claim: IntakeClaim, values: dict[str, Any]) -> bool:
    record = RECORDS[claim.kind]
    found = session.execute(
        update(record)
        .where(
            record.tenant_id == claim.tenant_id,
            record.id == claim.id,
            record.attempt == claim.token,
            record.status == "checking",
            record.lease_until.is_not(None),
        )
        .values(**values)
        .returning(record.id)
    ).scalar_one_or_none()
    return found is not None
