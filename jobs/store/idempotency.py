"""Idempotency keys: the key and what it created are written in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite

from jobs.records import Idempotency
from jobs.store.errors import KeyReused
from jobs.store.scope import Scoped


@dataclass(frozen=True)
class Key:
    """A client's key on one route, with the SHA-256 of the canonical body."""

    route: str
    key: str
    fingerprint: str


@dataclass(frozen=True)
class Answer:
    """Body of the answer to a creating POST, and whether it is the stored one of an earlier call."""

    resource_id: str
    body: dict[str, Any]
    replayed: bool = False


def once(scoped: Scoped, key: Key | None, create: Callable[[], tuple[str, dict[str, Any]]]) -> Answer:
    """Create, or give the stored answer of the call that used this key first.

    The key's row is inserted before anything is created, so concurrent calls with one key queue on its primary key
    (PostgreSQL) or on the writer's lock (SQLite), and the losers read the winner's answer.

    Args:
        scoped: the open write transaction.
        key: None: no key was sent; always create.
        create: returns (id of the created record, body of the answer); called at most once, in this transaction.

    Raises:
        KeyReused: the same key came with another body.
    """
    if key is None:
        resource_id, body = create()
        return Answer(resource_id, body)
    insert = sqlite.insert if scoped.session.get_bind().dialect.name == "sqlite" else postgresql.insert
    identity = {"tenant_id": scoped.tenant_id, "route": key.route, "key": key.key}
    placed = scoped.session.execute(
        insert(Idempotency)
        .values(**identity, fingerprint=key.fingerprint, resource_id="", body={}, created_at=scoped.now)
        .on_conflict_do_nothing()
        .returning(Idempotency.key)
    ).scalar_one_or_none()
    row = scoped.session.get_one(Idempotency, (scoped.tenant_id, key.route, key.key))
    if placed is None:
        if row.fingerprint != key.fingerprint:
            raise KeyReused(key.key)
        return Answer(row.resource_id, row.body, replayed=True)
    row.resource_id, row.body = create()
    return Answer(row.resource_id, row.body)
