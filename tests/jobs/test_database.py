from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, StatementError

from benchmarks.postgres import NoPostgres, run_postgres
from jobs import migrations
from jobs.database import SCHEMA_VERSION, Database, open_database, open_patiently, upgrade
from jobs.records import Lease, Record


def test_migrations_make_the_declared_schema(database: Database) -> None:
    assert database.check() == SCHEMA_VERSION
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Record.metadata) == []


def test_schema_version_is_the_newest_migration() -> None:
    folder = Path(migrations.__file__).parent
    assert ScriptDirectory(str(folder)).get_current_head() == SCHEMA_VERSION


def test_upgrade_by_several_processes_at_once(database_url: str) -> None:
    start = threading.Barrier(4)

    def open_one(_: int) -> str:
        start.wait()
        database = open_database(database_url)
        version = database.check()
        database.close()
        return version

    if database_url.startswith("sqlite:///"):
        Path(database_url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(open_one, range(4))) == [SCHEMA_VERSION] * 4


def test_a_newer_schema_is_refused(database: Database) -> None:
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        session.execute(text("UPDATE schema_info SET value = '9999'"))
    assert not database.fits()
    with pytest.raises(RuntimeError, match="schema 9999"):
        upgrade(database.engine)


def test_instants_keep_their_zone(database: Database) -> None:
    with database.write() as session:
        now = database.now(session)
        session.add(Lease(name="n", holder="h", until=now))
    with database.read() as session:
        assert session.get_one(Lease, "n").until == now
    with pytest.raises(StatementError, match="aware"), database.write() as session:
        session.add(Lease(name="m", holder="h", until=datetime(2026, 1, 1)))


def test_writers_queue_instead_of_failing(database: Database) -> None:
    with database.write() as session:
        session.add(Lease(name="n", holder="0", until=database.now(session)))

    def add_one(_: int) -> None:
        with database.write() as session:
            lease = session.get_one(Lease, "n", with_for_update=True)
            lease.holder = str(int(lease.holder) + 1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add_one, range(80)))
    with database.read() as session:
        assert session.get_one(Lease, "n").holder == "80"


def test_tidy_empties_the_log_while_others_write(database: Database, database_url: str) -> None:
    if not database.is_sqlite:
        database.tidy()
        return
    log = Path(database_url.removeprefix("sqlite:///") + "-wal")
    with database.write() as session:
        session.add(Lease(name="a", holder="h", until=database.now(session)))
    size = log.stat().st_size
    assert size > 0
    database.tidy()
    with database.write() as session:  # begins the log anew instead of making it longer
        session.add(Lease(name="b", holder="h", until=database.now(session)))
    assert log.stat().st_size == size


@pytest.mark.postgres
def test_a_server_that_starts_later_is_waited_for(tmp_path: Path) -> None:
    """API and database may start in any order; a file that cannot be opened is not waited for."""
    try:
        with run_postgres() as server:
            url = server.new_database()
            server.stop("fast")
            with pytest.raises(OperationalError):
                open_patiently(url, patience_s=0)
            late = threading.Timer(1.5, server.start)
            late.start()
            open_patiently(url, patience_s=60).close()
            late.join()
    except NoPostgres as missing:
        pytest.skip(str(missing))
    with pytest.raises(OperationalError):
        open_patiently(f"sqlite:///{tmp_path}")  # a folder
