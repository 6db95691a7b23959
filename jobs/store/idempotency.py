"""Idempotency keys: the key and what it created are written in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select, update
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
    if key is not None and (stored := place(scoped, key, Answer("", {}))) is not None:
        return stored
    answer = Answer(*create())
    if key is not None:
        done = {"resource_id": answer.resource_id, "body": answer.body}
        scoped.session.connection().execute(_COMPLETE, _names(scoped, key) | done)
    return answer


def place(scoped: Scoped, key: Key, answer: Answer) -> Answer | None:
    """Write the key with its answer; where the key is there already, give what was stored with it.

    Raises:
        KeyReused: the same key came with another body.
    """
    connection = scoped.session.connection()
    names = _names(scoped, key)
    values = {
        "tenant_id": scoped.tenant_id,
        "route": key.route,
        "key": key.key,
        "fingerprint": key.fingerprint,
        "resource_id": answer.resource_id,
        "body": answer.body,
        "created_at": scoped.now,
    }
    if connection.execute(_PLACE[connection.dialect.name], values).scalar_one_or_none() is not None:
        return None
    fingerprint, resource_id, body = connection.execute(_STORED, names).one()
    if fingerprint != key.fingerprint:
        raise KeyReused(key.key)
    return Answer(resource_id, body, replayed=True)


# Built once: every creating POST runs them, and building a statement costs more than SQLite needs to carry it out.
_TABLE = Idempotency.__table__.c
_MINE = (
    _TABLE.tenant_id == bindparam("its_tenant"),
    _TABLE.route == bindparam("its_route"),
    _TABLE.key == bindparam("its_key"),
)
_PLACE = {
    "sqlite": sqlite.insert(Idempotency.__table__).on_conflict_do_nothing().returning(_TABLE.key),  # type: ignore[arg-type]
    "postgresql": postgresql.insert(Idempotency.__table__).on_conflict_do_nothing().returning(_TABLE.key),  # type: ignore[arg-type]
}
_STORED = select(_TABLE.fingerprint, _TABLE.resource_id, _TABLE.body).where(*_MINE)
_COMPLETE = update(Idempotency.__table__).where(*_MINE)  # type: ignore[arg-type]


def _names(scoped: Scoped, key: Key) -> dict[str, str]:
    return {"its_tenant": scoped.tenant_id, "its_route": key.route, "its_key": key.key}
