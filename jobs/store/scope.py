"""The scoped accessor: whoever asks on behalf of a user goes through a tenant, and every query carries its id."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Select, and_, or_, select
from sqlalchemy.orm import Session

from jobs.database import Database
from jobs.records import Artifact, Blob, Dataset, Event, Export, Job, Model

R = TypeVar("R", Job, Model, Dataset, Export, Artifact, Event, Blob)
Listed = TypeVar("Listed", Job, Model, Dataset, Export)


class Scoped:
    """One transaction that sees one tenant's rows."""

    def __init__(self, session: Session, tenant_id: str, now: datetime) -> None:
        self.session = session
        self.tenant_id = tenant_id
        self.now = now

    def select(self, record: type[R]) -> Select[R]:
        """A query over the tenant's rows of one kind."""
        return select(record).where(record.tenant_id == self.tenant_id)

    def find(self, record: type[R], *conditions: Any, lock: bool = False) -> R | None:
        """The one row that fulfils the conditions, or None; ``lock`` holds it until the transaction ends."""
        query = self.select(record).where(*conditions)
        return self.session.scalars(query.with_for_update() if lock else query).one_or_none()


@dataclass(frozen=True)
class Tenant:
    """A tenant and the database that holds its rows."""

    database: Database
    id: str

    @contextmanager
    def read(self) -> Iterator[Scoped]:
        """A read transaction over the tenant's rows."""
        with self.database.read() as session:
            yield Scoped(session, self.id, self.database.now(session))

    @contextmanager
    def write(self) -> Iterator[Scoped]:
        """A write transaction over the tenant's rows."""
        with self.database.write() as session:
            yield Scoped(session, self.id, self.database.now(session))


@dataclass(frozen=True)
class Page:
    """Where a listing goes on: after the row with this creation time and id (newest first)."""

    limit: int
    after: tuple[datetime, str] | None = None


def newest_first(query: Select[Listed], record: type[Listed], page: Page) -> Select[Listed]:
    """Keyset paging by (created_at, id): stable under inserts. Asks for one row more than the page holds."""
    created, identity = record.created_at, record.id
    if page.after is not None:
        at, last = page.after
        query = query.where(or_(created < at, and_(created == at, identity < last)))
    return query.order_by(created.desc(), identity.desc()).limit(page.limit + 1)
