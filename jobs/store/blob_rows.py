"""Rows of blobs: what the tenant holds, when it was last touched, and what still refers to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from sqlalchemy import ColumnElement, CursorResult, delete, exists, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from jobs.database import Database
from jobs.records import ACTIVE, Artifact, Blob, Checkpoint, Dataset, Export, Job, Model
from jobs.store.scope import Tenant
from jobs.store.views import BlobView, blob_view


def find_blob(tenant: Tenant, digest: str) -> BlobView | None:
    """The tenant's blob of this digest (``sha256:{hex}``), or None."""
    with tenant.read() as scoped:
        row = scoped.find(Blob, Blob.digest == digest)
        return None if row is None else blob_view(row)


def hold_blob(tenant: Tenant, digest: str, size: int) -> None:
    """Record a blob whose bytes are in place, or touch its row."""
    with tenant.write() as scoped:
        insert = sqlite.insert if tenant.database.is_sqlite else postgresql.insert
        scoped.session.execute(
            insert(Blob)
            .values(tenant_id=tenant.id, digest=digest, size=size, created_at=scoped.now, touched_at=scoped.now)
            .on_conflict_do_update(index_elements=["tenant_id", "digest"], set_={"touched_at": scoped.now})
        )


def touch_blob(tenant: Tenant, digest: str) -> bool:
    """Refresh ``touched_at``, so that the collector leaves the blob alone; False: not held."""
    with tenant.write() as scoped:
        return touch(scoped.session, tenant.id, digest, scoped.now)


def touch(session: Session, tenant_id: str, digest: str, now: datetime) -> bool:
    """The same inside an open write transaction; on PostgreSQL it also locks the row against the collector."""
    found = session.execute(
        update(Blob)
        .where(Blob.tenant_id == tenant_id, Blob.digest == digest)
        .values(touched_at=now)
        .returning(Blob.digest)
    ).scalar_one_or_none()
    return found is not None


def collectable(database: Database, before: datetime, limit: int = 1000) -> list[tuple[str, str]]:
    """(tenant, digest) of blobs that nothing refers to and nobody touched since ``before``."""
    with database.read() as session:
        query = select(Blob.tenant_id, Blob.digest).where(Blob.touched_at < before, ~_referenced()).limit(limit)
        return [(tenant_id, digest) for tenant_id, digest in session.execute(query)]


def adopt_blobs(database: Database, tenant_id: str, found: Mapping[str, tuple[int, datetime]]) -> None:
    """Give objects without a row one: their writer was killed in between, and the collector looks at rows alone.

    Args:
        database: the records.
        tenant_id: whose.
        found: digest → (size, when it was stored), which becomes ``touched_at``.
    """
    with database.read() as session:
        mine = (Blob.tenant_id == tenant_id, Blob.digest.in_(found))
        known = set(session.scalars(select(Blob.digest).where(*mine)))
    strangers = [
        {"tenant_id": tenant_id, "digest": digest, "size": size, "created_at": at, "touched_at": at}
        for digest, (size, at) in found.items()
        if digest not in known
    ]
    if strangers:
        insert = sqlite.insert if database.is_sqlite else postgresql.insert
        with database.write() as session:
            session.execute(insert(Blob).values(strangers).on_conflict_do_nothing())


def drop_blob_row(
    database: Database,
    tenant_id: str,
    digest: str,
    before: datetime | None,
    then: Callable[[], None] = lambda: None,
) -> bool:
    """Delete the row if it is still unreferenced (and untouched since ``before``); True: the object may go too.

    ``then`` is called before the commit: whoever holds the same blob meanwhile waits, and finds both gone or neither.
    """
    with database.write() as session:
        conditions: list[ColumnElement[bool]] = [Blob.tenant_id == tenant_id, Blob.digest == digest, ~_referenced()]
        if before is not None:
            conditions.append(Blob.touched_at < before)
        done = session.execute(delete(Blob).where(*conditions))
        if not isinstance(done, CursorResult) or done.rowcount == 0:
            return False
        then()
        return True


def _referenced() -> ColumnElement[bool]:
    """Does any live record need the blob: rejected uploads do not, finished jobs need their artifacts alone."""
    refers = [
        exists().where(record.tenant_id == Blob.tenant_id, column == Blob.digest, record.status != "rejected")
        for record in (Model, Dataset, Export)
        for column in (record.blob, record.canonical)
    ]
    refers.append(
        exists().where(
            Artifact.tenant_id == Blob.tenant_id, Artifact.digest == Blob.digest, Artifact.expired_at.is_(None)
        )
    )
    refers.append(
        exists().where(
            Checkpoint.tenant_id == Blob.tenant_id,
            Checkpoint.digest == Blob.digest,
            Job.tenant_id == Checkpoint.tenant_id,
            Job.id == Checkpoint.job_id,
            Job.status.in_(ACTIVE),
        )
    )
    refers += [
        exists().where(Job.tenant_id == Blob.tenant_id, column == Blob.digest, Job.status.in_(ACTIVE))
        for column in (Job.expected_counts, Job.expected_traces)
    ]
    union = refers[0]
    for one in refers[1:]:
        union = union | one  # type: ignore[assignment]
    return union
