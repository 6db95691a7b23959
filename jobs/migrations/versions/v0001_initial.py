"""The first schema: keys, blobs, models, datasets, jobs with all that hangs on them, leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from jobs.records import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "artifacts",
        sa.Column("tenant_id", sa.String(length=255), nullable=False),
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("job_id", sa.String(length=255), nullable=False),
        sa.Column("role", sa.String(length=64), nullable=False),
        sa.Column("path", sa.String(length=255), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("media_type", sa.String(length=128), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_artifacts")),
    )
    op.create_index(op.f("ix_artifacts_digest"), "artifacts", ["digest"], unique=False)
    op.create_index(op.f("ix_artifacts_tenant_id_job_id"), "artifacts", ["tenant_id", "job_id"], unique=False)
    op.create_table(
        "attempts",
        sa.Column("tenant_id", sa.String(length=255), nullable=False),
        sa.Column("job_id", sa.String(length=255), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("worker", sa.String(length=255), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", "number", name=op.f("pk_attempts")),
    )
    op.create_table(
        "blobs",
        sa.Column("tenant_id", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("touched_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "digest", name=op.f("pk_blobs")),
    )
    op.create_index(op.f("ix_blobs_touched_at"), "blobs", ["touched_at"], unique=False)
    op.create_table(
        "checkpoints",
        sa.Column("tenant_id", sa.String(length=255), nullable=False),
        sa.Column("job_id", sa.String(length=255), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", "number", name=op.f("pk_checkpoints")),
    )
    op.create_index(op.f("ix_checkpoints_digest"), "checkpoints", ["digest"], unique=False)
    op.create_table(
        "datasets",
        sa.Column("format", sa.String(length=16), nullable=False),
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
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_datasets")),
    )
    op.create_index(op.f("ix_datasets_blob"), "datasets", ["blob"], unique=False)
    op.create_index(op.f("ix_datasets_canonical"), "datasets", ["canonical"], unique=False)
    op.create_index(op.f("ix_datasets_status_created_at"), "datasets", ["status", "created_at"], unique=False)
    op.create_index(
        op.f("ix_datasets_tenant_id_created_at_id"), "datasets", ["tenant_id", "created_at", "id"], unique=False
    )
    op.create_table(
        "events",
        sa.Column("tenant_id", sa.String(length=255), nullable=False),
        sa.Column("job_id", sa.String(length=255), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", "seq", name=op.f("pk_events")),
    )
    op.create_table(
        "idempotency",
        sa.Column("tenant_id", sa.String(length=255), nullable=False),
        sa.Column("route", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("resource_id", sa.String(length=255), nullable=False),
        sa.Column("body", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "route", "key", name=op.f("pk_idempotency")),
    )
    op.create_index(op.f("ix_idempotency_created_at"), "idempotency", ["created_at"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("tenant_id", sa.String(length=255), nullable=False),
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("verdict", sa.String(length=8), nullable=True),
        sa.Column("job_class", sa.String(length=32), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("model_id", sa.String(length=255), nullable=False),
        sa.Column("dataset_id", sa.String(length=255), nullable=False),
        sa.Column("expected_counts", sa.String(length=71), nullable=True),
        sa.Column("request", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("spec", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("label", sa.String(length=255), nullable=True),
        sa.Column("engine_version", sa.String(length=64), nullable=False),
        sa.Column("progress", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("problem", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("crashes", sa.BigInteger(), nullable=False),
        sa.Column("worker", sa.String(length=255), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("not_before", UtcDateTime(), nullable=True),
        sa.Column("queue_deadline_at", UtcDateTime(), nullable=True),
        sa.Column("run_deadline_s", sa.Float(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("event_seq", sa.BigInteger(), nullable=False),
        sa.Column("log_count", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_jobs")),
    )
    op.create_index(op.f("ix_jobs_expected_counts"), "jobs", ["expected_counts"], unique=False)
    op.create_index(
        op.f("ix_jobs_status_job_class_priority_created_at"),
        "jobs",
        ["status", "job_class", "priority", "created_at"],
        unique=False,
    )
    op.create_index(op.f("ix_jobs_tenant_id_created_at_id"), "jobs", ["tenant_id", "created_at", "id"], unique=False)
    op.create_index(op.f("ix_jobs_tenant_id_dataset_id"), "jobs", ["tenant_id", "dataset_id"], unique=False)
    op.create_index(op.f("ix_jobs_tenant_id_model_id"), "jobs", ["tenant_id", "model_id"], unique=False)
    op.create_table(
        "keys",
        sa.Column("tenant_id", sa.String(length=255), nullable=False),
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_keys")),
        sa.UniqueConstraint("sha256", name=op.f("uq_keys_sha256")),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("holder", sa.String(length=255), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "models",
        sa.Column("dynamics", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("repair", sa.Boolean(), nullable=False),
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
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_models")),
    )
    op.create_index(op.f("ix_models_blob"), "models", ["blob"], unique=False)
    op.create_index(op.f("ix_models_canonical"), "models", ["canonical"], unique=False)
    op.create_index(op.f("ix_models_status_created_at"), "models", ["status", "created_at"], unique=False)
    op.create_index(
        op.f("ix_models_tenant_id_created_at_id"), "models", ["tenant_id", "created_at", "id"], unique=False
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_models_tenant_id_created_at_id"), table_name="models")
    op.drop_index(op.f("ix_models_status_created_at"), table_name="models")
    op.drop_index(op.f("ix_models_canonical"), table_name="models")
    op.drop_index(op.f("ix_models_blob"), table_name="models")
    op.drop_table("models")
    op.drop_table("leases")
    op.drop_table("keys")
    op.drop_index(op.f("ix_jobs_tenant_id_model_id"), table_name="jobs")
    op.drop_index(op.f("ix_jobs_tenant_id_dataset_id"), table_name="jobs")
    op.drop_index(op.f("ix_jobs_tenant_id_created_at_id"), table_name="jobs")
    op.drop_index(op.f("ix_jobs_status_job_class_priority_created_at"), table_name="jobs")
    op.drop_index(op.f("ix_jobs_expected_counts"), table_name="jobs")
    op.drop_table("jobs")
    op.drop_index(op.f("ix_idempotency_created_at"), table_name="idempotency")
    op.drop_table("idempotency")
    op.drop_table("events")
    op.drop_index(op.f("ix_datasets_tenant_id_created_at_id"), table_name="datasets")
    op.drop_index(op.f("ix_datasets_status_created_at"), table_name="datasets")
    op.drop_index(op.f("ix_datasets_canonical"), table_name="datasets")
    op.drop_index(op.f("ix_datasets_blob"), table_name="datasets")
    op.drop_table("datasets")
    op.drop_index(op.f("ix_checkpoints_digest"), table_name="checkpoints")
    op.drop_table("checkpoints")
    op.drop_index(op.f("ix_blobs_touched_at"), table_name="blobs")
    op.drop_table("blobs")
    op.drop_table("attempts")
    op.drop_index(op.f("ix_artifacts_tenant_id_job_id"), table_name="artifacts")
    op.drop_index(op.f("ix_artifacts_digest"), table_name="artifacts")
    op.drop_table("artifacts")
