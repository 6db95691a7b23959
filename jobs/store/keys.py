"""API keys: ``spk_`` + 30 random letters and digits + 6 of checksum, which secret scanners can verify.

Only hashes are kept.
"""

from __future__ import annotations

import hashlib
import secrets
import string
import zlib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select, update

from jobs.database import Database
from jobs.records import Key
from jobs.store.scope import Tenant

PREFIX = "spk_"
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_LENGTH = 30  # 178 bits
CHECKSUM_LENGTH = 6  # CRC-32 in base 62


@dataclass(frozen=True)
class Principal:
    """Who a valid key speaks for."""

    tenant_id: str
    key_id: str
    scopes: str | None = None

    @property
    def admin(self) -> bool:
        """May it operate the service: keys made before there were scopes, and those made for it."""
        return self.scopes is None or "admin" in self.scopes.split()


@dataclass(frozen=True)
class KeyView:
    """A key as it is listed: everything but what it opens."""

    id: str
    tenant_id: str
    name: str
    scopes: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


def generate_key() -> str:
    """A new key.

    Example:
        >>> key_is_wellformed(generate_key())
        True
    """
    body = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))
    return PREFIX + body + _checksum(body)


def key_is_wellformed(key: str) -> bool:
    """Do prefix, length and checksum fit: what can be said without asking the database.

    Example:
        >>> key_is_wellformed("spk_" + "0" * 36)
        False
    """
    if len(key) != len(PREFIX) + RANDOM_LENGTH + CHECKSUM_LENGTH or not key.startswith(PREFIX):
        return False
    body, checksum = key[len(PREFIX) : -CHECKSUM_LENGTH], key[-CHECKSUM_LENGTH:]
    return secrets.compare_digest(_checksum(body).encode(), checksum.encode())


def add_key(tenant: Tenant, key: str, name: str, expires_at: datetime | None = None, scopes: str | None = None) -> str:
    """Keep the hash of a key; the same key twice is one row. Returns the key's id.

    Raises:
        ValueError: the key does not have our form (it was mistyped, or made elsewhere).
    """
    if not key_is_wellformed(key):
        raise ValueError("the key does not have the form 'spk_' + 30 letters and digits + 6 of checksum")
    digest = _hash(key)
    with tenant.write() as scoped:
        known = scoped.session.scalars(select(Key).where(Key.sha256 == digest)).one_or_none()
        if known is not None:
            return known.id
        identity = "key_" + secrets.token_hex(8)
        scoped.session.add(
            Key(
                tenant_id=tenant.id,
                id=identity,
                sha256=digest,
                name=name,
                created_at=scoped.now,
                expires_at=expires_at,
                scopes=scopes,
            )
        )
        return identity


def verify_key(database: Database, key: str) -> Principal | None:
    """Who the key speaks for; None: unknown, expired or revoked.

    The look-up is by the key's SHA-256: its timing says nothing about other keys.
    """
    if not key_is_wellformed(key):
        return None
    with database.read() as session:
        now = database.now(session)
        live = (Key.revoked_at.is_(None), or_(Key.expires_at.is_(None), Key.expires_at > now))
        row = session.scalars(select(Key).where(Key.sha256 == _hash(key), *live)).one_or_none()
        return None if row is None else Principal(row.tenant_id, row.id, row.scopes)


def list_keys(database: Database) -> list[KeyView]:
    """All keys of all tenants, oldest first."""
    with database.read() as session:
        rows = session.scalars(select(Key).order_by(Key.created_at, Key.id))
        return [
            KeyView(row.id, row.tenant_id, row.name, row.scopes, row.created_at, row.expires_at, row.revoked_at)
            for row in rows
        ]


def revoke_key(tenant: Tenant, key_id: str) -> bool:
    """End a key; False: the tenant has no such key that is still valid."""
    with tenant.write() as scoped:
        mine = (Key.tenant_id == tenant.id, Key.id == key_id, Key.revoked_at.is_(None))
        changed = scoped.session.execute(update(Key).where(*mine).values(revoked_at=scoped.now).returning(Key.id))
        return changed.scalar_one_or_none() is not None


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = []
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
