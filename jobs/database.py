"""The SQL database: engine, short transactions and the schema's version.

SQLite runs in WAL mode; a write begins with ``BEGIN IMMEDIATE`` (a deferred one that turns into a write can fail with
"database is locked" at once, whatever the busy timeout) and writers of one process queue on a lock, because SQLite's
own busy handler sleeps in steps of up to 100 ms. PostgreSQL's clock, not this host's, decides about leases.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, func, inspect, make_url, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from jobs import clock

SCHEMA_VERSION = "0005"  # newest file in migrations/versions; a test compares them
BUSY_TIMEOUT_S = 10.0
START_S = 60.0
CHECKPOINT_PAGES = 8000  # 32 MB of log: the sweep empties it long before, so that no request waits for the disk
# A host that was cut off sends no end of its connections: without these a heartbeat would hang for minutes.
_NOTICE_CUTS = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # milliseconds
}
_log = logging.getLogger(__name__)
_READ_ONLY = "spikebit_read_only"
_MIGRATION_LOCK = 0x5B17_B175  # any constant of our own: the advisory lock under which a schema is upgraded


class Database:
    """Short read and write transactions over one engine.

    Args:
        url: SQLAlchemy URL, ``sqlite:///path`` or ``postgresql+psycopg://...``.
        durable: SQLite alone: sync every commit to disk (PostgreSQL decides for itself).
    """

    def __init__(self, url: str, *, durable: bool = False) -> None:
        self.engine = _create_engine(url, durable)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._reader = self.engine.execution_options(**{_READ_ONLY: True})
        self._one_writer = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A read transaction: one consistent snapshot."""
        with Session(self._reader, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A write transaction, committed at the end; do no other work inside."""
        with ExitStack() as stack:
            if self.is_sqlite:
                stack.enter_context(self._one_writer)
            session = stack.enter_context(Session(self.engine, expire_on_commit=False))
            stack.enter_context(session.begin())
            yield session

    def now(self, session: Session) -> datetime:
        """The instant that leases are compared with: the server's on PostgreSQL, this host's on SQLite."""
        if self.is_sqlite:
            return clock.utc_now()
        instant: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
        return instant.astimezone(UTC)

    def check(self) -> str:
        """The schema version found; raises SQLAlchemyError where the database does not answer."""
        with self._reader.connect() as connection:
            return _version(connection) or "none"

    def fits(self) -> bool:
        """Can this code work on the schema: it is ours, or a newer one that says so."""
        with self._reader.connect() as connection:
            return _fits(connection, _version(connection))

    def tidy(self) -> None:
        """SQLite alone: move the log into the database, as far as that is possible without making anybody wait."""
        if not self.is_sqlite:
            return
        connection = self.engine.raw_connection()  # outside of any transaction
        try:
            connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)")
        finally:
            connection.close()

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def upgrade(engine: Engine) -> None:
    """Bring the schema to the newest version; safe to call from several processes at once.

    A newer schema is left as it is where its migration says that code of our version still works on it, so that old
    and new processes run side by side while one replaces the other.

    Raises:
        RuntimeError: the database is too new for this code.
    """
    with engine.connect() as connection:
        found = _version(connection)
        fits = _fits(connection, found)
    if fits:
        return  # the usual start: alembic is not even imported (it costs 0.3 s)
    if found is not None and found > SCHEMA_VERSION:
        raise RuntimeError(f"the database has schema {found}, this code knows up to {SCHEMA_VERSION}: upgrade the code")
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:  # on SQLite this is BEGIN IMMEDIATE: one upgrade at a time
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def open_database(url: str, *, durable: bool = False) -> Database:
    """A database whose schema is up to date; the folder of a SQLite file is made (0700)."""
    path = make_url(url).database
    if url.startswith("sqlite") and path and path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = Database(url, durable=durable)
    upgrade(database.engine)
    return database


def open_patiently(url: str, *, durable: bool = False, patience_s: float = START_S) -> Database:
    """The same; a server that starts at the same time as this process is waited for (a file on this host is not).

    Raises:
        OperationalError: it did not answer in time.
    """
    until = time.monotonic() + (0.0 if url.startswith("sqlite") else patience_s)
    while True:
        try:
            return open_database(url, durable=durable)
        except OperationalError as error:
            if time.monotonic() >= until:
                raise
            _log.warning("the database does not answer yet: %s", error)
        time.sleep(1.0)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return None if found is None else str(found)


def _fits(connection: Connection, found: str | None) -> bool:
    if found is None or found < SCHEMA_VERSION:
        return False
    if found == SCHEMA_VERSION:
        return True
    oldest = connection.execute(text("SELECT value FROM schema_info WHERE name = 'oldest_code'")).scalar_one_or_none()
    return oldest is not None and str(oldest) <= SCHEMA_VERSION


def _create_engine(url: str, durable: bool) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=30, connect_args=_NOTICE_CUTS)
    engine = create_engine(
        url, connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False}, pool_size=10, max_overflow=40
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver must not begin by itself: _begin does
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        cursor.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get(_READ_ONLY, False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine
