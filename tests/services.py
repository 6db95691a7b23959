"""Servers that tests start for themselves: a private PostgreSQL cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from benchmarks.postgres import NoPostgres, Postgres, run_postgres

__all__ = ["Postgres", "postgres_server"]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """One cluster for the whole session; skips with a reason where it cannot be started."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(run_postgres())
        except NoPostgres as missing:
            pytest.skip(str(missing))
        yield server
