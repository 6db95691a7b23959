"""Files for frameworks: models on their way back.

It only adds a table, so code that knows 0001 alone goes on working while it is replaced.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from jobs.records import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

OLDEST_CODE = "0001"
INDEXES = (
    ("status", "created_at"),
    ("tenant_id", "created_at", "id"),
    ("tenant_id", "model_id"),
    ("blob",),
    ("canonical",),
)


def upgrade() -> None:
    op.create_table(
        "exports",
        sa.Column("tenant_id", sa.String(length=255), nullable=False),
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("blob", sa.String(length=71), nullable=False),
        sa.Column("canonical", sa.String(length=71), nullable=True),
        sa.Column("summary", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("problem", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("checked_at", UtcDateTime(), nullable=True),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.BigInteger(), nullable=False),
        sa.Column("worker", sa.String(length=255), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("model_id", sa.String(length=255), nullable=False),
        sa.Column("framework", sa.String(length=32), nullable=False),
        sa.Column("snippet", sa.Boolean(), nullable=False),
        sa.Column("dynamics", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_exports")),
    )
    for columns in INDEXES:
        op.create_index(op.f(f"ix_exports_{'_'.join(columns)}"), "exports", list(columns), unique=False)


def downgrade() -> None:
    op.drop_table("exports")
