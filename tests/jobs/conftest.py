"""Every test of the store runs on SQLite and, where its server is installed, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.blobs import Blobs
from jobs.database import Database, open_database
from jobs.settings import Settings
from jobs.store import Tenant
from tests.services import postgres_server

__all__ = ["postgres_server"]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state' / 'spikebit.db'}"
    url: str = request.getfixturevalue("postgres_server").new_database()
    return url


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(data=tmp_path / "state", database_url=database_url)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = open_database(settings.sql_url)
    yield database
    database.close()


@pytest.fixture
def tenant(database: Database) -> Tenant:
    return Tenant(database, "default")


@pytest.fixture
def blobs(settings: Settings, database: Database) -> Blobs:
    return Blobs(settings, database)
