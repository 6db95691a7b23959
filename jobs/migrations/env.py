"""Alembic's entry: runs migrations on the connection that ``jobs.database.upgrade`` hands over."""

from __future__ import annotations

from alembic import context

from jobs.records import Record

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Record.metadata,
    render_as_batch=True,  # SQLite cannot alter a column in place
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
