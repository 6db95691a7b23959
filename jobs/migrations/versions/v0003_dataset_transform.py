"""Datasets of events: the transform that makes frames of them is part of the record."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OLDEST_CODE = "0001"


def upgrade() -> None:
    op.add_column("datasets", sa.Column("transform", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    op.drop_column("datasets", "transform")
