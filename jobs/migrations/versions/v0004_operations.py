"""Labels, expiry, traces, the register of workers, drains: all that running the service at scale keeps.

It only adds: new columns may be empty, so code that knows 0001 alone goes on working while it is replaced.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from jobs.records import UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

OLDEST_CODE = "0001"
COLUMNS: tuple[tuple[str, str, Any], ...] = (
    ("keys", "scopes", sa.String(length=64)),
    ("jobs", "labels", sa.JSON(none_as_null=True)),
    ("jobs", "queued_at", UtcDateTime()),
    ("jobs", "trace", sa.String(length=64)),
    ("jobs", "request_id", sa.String(length=128)),
    ("artifacts", "expired_at", UtcDateTime()),
)
INDEXES = (
    ("jobs", ("tenant_id", "status", "created_at", "id")),
    ("jobs", ("tenant_id", "label", "created_at", "id")),
    ("jobs", ("finished_at",)),
)


def upgrade() -> None:
    for table, name, kind in COLUMNS:
        op.add_column(table, sa.Column(name, kind, nullable=True))
    for table, columns in INDEXES:
        op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, list(columns), unique=False)
    op.create_table(
        "job_labels",
        sa.Column("tenant_id", sa.String(length=255), nullable=False),
        sa.Column("job_id", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", "name", name=op.f("pk_job_labels")),
    )
    op.create_index(
        op.f("ix_job_labels_tenant_id_name_value_job_id"),
        "job_labels",
        ["tenant_id", "name", "value", "job_id"],
        unique=False,
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("job_class", sa.String(length=32), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=True),
        sa.Column("engine_version", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("job_id", sa.String(length=255), nullable=True),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.Column("counts", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workers")),
    )
    op.create_index(op.f("ix_workers_seen_at"), "workers", ["seen_at"], unique=False)
    op.create_table(
        "drains",
        sa.Column("scope", sa.String(length=255), nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("scope", name=op.f("pk_drains")),
    )
    info = op.create_table(
        "schema_info",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("value", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_schema_info")),
    )
    op.bulk_insert(info, [{"name": "oldest_code", "value": OLDEST_CODE}])


def downgrade() -> None:
    for table in ("schema_info", "drains", "workers", "job_labels"):
        op.drop_table(table)
    for table, columns in reversed(INDEXES):
        op.drop_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table_name=table)
    for table, name, _ in reversed(COLUMNS):
        with op.batch_alter_table(table) as batch:
            batch.drop_column(name)
