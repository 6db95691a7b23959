"""Records of the service: what SQL keeps. One declaration for SQLite and PostgreSQL.

Every table that a user's data lives in carries ``tenant_id`` in its primary key, so that two tenants can hold the same
derived id and a query without a tenant cannot use the key's index by accident.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Float, Index, MetaData, String, Text, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
ANY_JSON = JSON(none_as_null=True)  # not JSONB: that would reorder the keys of what the user wrote

TERMINAL = ("succeeded", "failed", "cancelled", "expired")
HELD = ("running", "cancelling")
ACTIVE = ("queued", *HELD)


class UtcDateTime(TypeDecorator[datetime]):
    """An instant: aware UTC in Python, ``timestamptz`` in PostgreSQL, naive UTC text in SQLite (it keeps no zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse instants without a zone: they are the bug that this type exists to prevent."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"expected an aware datetime, got {value!r} without a zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Record(DeclarativeBase):
    """Base of all records."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy reads it as a plain attribute)
        datetime: UtcDateTime,
        dict[str, Any]: ANY_JSON,
        str: String(255),
        int: BigInteger,
        float: Float,
    }


class Key(Record):
    """An API key; only its hash is kept."""

    __tablename__ = "keys"
    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    scopes: Mapped[str | None] = mapped_column(String(64))  # None: everything (the first key of a service)


class Blob(Record):
    """Bytes that the tenant has proved to possess."""

    __tablename__ = "blobs"
    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(String(71), primary_key=True)  # "sha256:" + 64 hex digits
    size: Mapped[int]
    created_at: Mapped[datetime]
    touched_at: Mapped[datetime]
    __table_args__ = (Index(None, "touched_at"),)


class Upload(Record):
    """What models, datasets and exports share: a file that intake works on once."""

    __abstract__ = True
    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    status: Mapped[str] = mapped_column(String(16))  # checking, ready, rejected
    blob: Mapped[str] = mapped_column(String(71))
    canonical: Mapped[str | None] = mapped_column(String(71))
    summary: Mapped[dict[str, Any] | None]
    problem: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    checked_at: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(default=0)
    tries: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None]
    lease_until: Mapped[datetime | None]


class Model(Upload):
    """An uploaded network with its dynamics."""

    __tablename__ = "models"
    dynamics: Mapped[dict[str, Any]]
    repair: Mapped[bool] = mapped_column(default=False)
    __table_args__ = (
        Index(None, "status", "created_at"),
        Index(None, "tenant_id", "created_at", "id"),
        Index(None, "blob"),
        Index(None, "canonical"),
    )


class Dataset(Upload):
    """Uploaded samples with labels."""

    __tablename__ = "datasets"
    format: Mapped[str] = mapped_column(String(16))
    transform: Mapped[dict[str, Any] | None]
    __table_args__ = (
        Index(None, "status", "created_at"),
        Index(None, "tenant_id", "created_at", "id"),
        Index(None, "blob"),
        Index(None, "canonical"),
    )


class Export(Upload):
    """A ready model on its way into a framework: ``blob`` is the model's canonical form, ``canonical`` the NIR file."""

    __tablename__ = "exports"
    model_id: Mapped[str]
    framework: Mapped[str] = mapped_column(String(32))
    snippet: Mapped[bool] = mapped_column(default=False)
    dynamics: Mapped[dict[str, Any]]
    __table_args__ = (
        Index(None, "status", "created_at"),
        Index(None, "tenant_id", "created_at", "id"),
        Index(None, "tenant_id", "model_id"),
        Index(None, "blob"),
        Index(None, "canonical"),
    )


class Job(Record):
    """A job; ``attempt`` is the fencing token, ``version`` counts visible changes, ``event_seq`` numbers events."""

    __tablename__ = "jobs"
    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str] = mapped_column(String(16))
    verdict: Mapped[str | None] = mapped_column(String(8))
    job_class: Mapped[str] = mapped_column(String(32))
    priority: Mapped[int] = mapped_column(default=0)
    model_id: Mapped[str]
    dataset_id: Mapped[str]
    expected_counts: Mapped[str | None] = mapped_column(String(71))
    expected_traces: Mapped[str | None] = mapped_column(String(71))
    request: Mapped[dict[str, Any]]
    spec: Mapped[dict[str, Any]]
    label: Mapped[str | None]
    engine_version: Mapped[str] = mapped_column(String(64))
    progress: Mapped[dict[str, Any] | None]
    problem: Mapped[dict[str, Any] | None]
    attempt: Mapped[int] = mapped_column(default=0)
    crashes: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    queue_deadline_at: Mapped[datetime | None]
    run_deadline_s: Mapped[float | None]
    version: Mapped[int] = mapped_column(default=0)
    event_seq: Mapped[int] = mapped_column(default=0)
    log_count: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    labels: Mapped[dict[str, Any] | None]
    queued_at: Mapped[datetime | None]  # when it was last put into the queue
    trace: Mapped[str | None] = mapped_column(String(64))  # W3C traceparent of the request that made it
    request_id: Mapped[str | None] = mapped_column(String(128))
    __table_args__ = (
        Index(None, "status", "job_class", "priority", "created_at"),
        Index(None, "tenant_id", "created_at", "id"),
        Index(None, "tenant_id", "status", "created_at", "id"),
        Index(None, "tenant_id", "label", "created_at", "id"),
        Index(None, "finished_at"),
        Index(None, "tenant_id", "model_id"),
        Index(None, "tenant_id", "dataset_id"),
        Index(None, "expected_counts"),
        Index(None, "expected_traces"),
    )


class JobLabel(Record):
    """One label of a job, beside the job so that a listing can begin with the label."""

    __tablename__ = "job_labels"
    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str]
    __table_args__ = (Index(None, "tenant_id", "name", "value", "job_id"),)


class Attempt(Record):
    """One claim of a job and how it ended."""

    __tablename__ = "attempts"
    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    worker: Mapped[str]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(16))  # succeeded failed cancelled lost released
    code: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[str | None] = mapped_column(Text)


class Checkpoint(Record):
    """A synced blob that a later attempt may resume from."""

    __tablename__ = "checkpoints"
    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    digest: Mapped[str] = mapped_column(String(71))
    size: Mapped[int]
    created_at: Mapped[datetime]
    __table_args__ = (Index(None, "digest"),)


class Artifact(Record):
    """A file that a job published."""

    __tablename__ = "artifacts"
    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str]
    role: Mapped[str] = mapped_column(String(64))
    path: Mapped[str]
    size: Mapped[int]
    digest: Mapped[str] = mapped_column(String(71))
    media_type: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime]
    expired_at: Mapped[datetime | None]  # the bytes are gone by policy, the record says what they were
    __table_args__ = (Index(None, "tenant_id", "job_id"), Index(None, "digest"))


class Event(Record):
    """One line of a job's history; ``seq`` has no gaps within a job."""

    __tablename__ = "events"
    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))  # state progress log checkpoint
    data: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class Idempotency(Record):
    """The stored answer to a creating POST."""

    __tablename__ = "idempotency"
    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    resource_id: Mapped[str]
    body: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    __table_args__ = (Index(None, "created_at"),)


class Lease(Record):
    """A named duty that one process at a time holds, for example the sweep; it belongs to no tenant."""

    __tablename__ = "leases"
    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    until: Mapped[datetime]


class Worker(Record):
    """A worker process: what it has, when it was last seen, and what it has counted; it belongs to no tenant."""

    __tablename__ = "workers"
    name: Mapped[str] = mapped_column(primary_key=True)
    job_class: Mapped[str] = mapped_column(String(32))
    host: Mapped[str]
    device: Mapped[str | None] = mapped_column(String(64))
    engine_version: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16))  # idle busy draining
    job_id: Mapped[str | None]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    counts: Mapped[dict[str, Any]]
    __table_args__ = (Index(None, "seen_at"),)


class Drain(Record):
    """Workers in this scope (``*``, a host, a worker's name) claim nothing and give back what they run."""

    __tablename__ = "drains"
    scope: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime]


class SchemaInfo(Record):
    """One row: the oldest code that still works on this schema, as a schema version."""

    __tablename__ = "schema_info"
    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    value: Mapped[str] = mapped_column(String(16))
