"""Expected spikes of single layers beside the expected counts of a job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

OLDEST_CODE = "0001"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("expected_traces", sa.String(length=71), nullable=True))
    op.create_index(op.f("ix_jobs_expected_traces"), "jobs", ["expected_traces"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_jobs_expected_traces"), table_name="jobs")
    op.drop_column("jobs", "expected_traces")
