"""A private PostgreSQL cluster for benchmarks and tests: on loopback, in a temporary folder, restarted at will."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

ANY_USER = "postgres"


class NoPostgres(RuntimeError):
    """There is no server to start here; the message says why."""


class Postgres:
    """A running private cluster; ``new_database`` gives the URL of an empty schema."""

    def __init__(self, folder: Path, binaries: Path, as_user: list[str], settings: str) -> None:
        self.port = free_port()
        self._as_user = as_user
        data = self._data = folder / "data"
        initdb: list[str | Path] = [
            binaries / "initdb",
            "-D",
            data,
            "-U",
            ANY_USER,
            "-A",
            "trust",
            "-N",
            "-E",
            "UTF8",
            "--locale=C",
        ]
        self._run(initdb)
        self._control: list[str | Path] = [binaries / "pg_ctl", "-D", data, "-w", "-t", "60"]
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} {settings}"
        self._start: list[str | Path] = [*self._control, "-l", folder / "log", "-o", options, "start"]

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._run(self._start)

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; ``immediate`` is a crash: the next start recovers from the log."""
        self._run([*self._control, "-m", mode, "stop"])

    def pid(self) -> int:
        """Of the server's first process; the others are its children."""
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def new_database(self) -> str:
        """SQLAlchemy URL of a fresh schema: a database is 300 files, which a busy disk takes long to remove."""
        name = "t" + uuid.uuid4().hex
        admin = f"host=127.0.0.1 port={self.port} user={ANY_USER} dbname=postgres"
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f'CREATE SCHEMA "{name}"'.encode())
        return f"postgresql+psycopg://{ANY_USER}@127.0.0.1:{self.port}/postgres?options=-csearch_path%3D{name}"

    def _run(self, command: list[str | Path]) -> None:
        subprocess.run([*self._as_user, *command], check=True, capture_output=True, cwd="/", timeout=90)


@contextmanager
def run_postgres(settings: str = "-c fsync=off") -> Iterator[Postgres]:
    """Start a cluster in a temporary folder on a free loopback port, and remove it at the end.

    Args:
        settings: options of the server (``-c name=value``).

    Raises:
        NoPostgres: there are no binaries, or no user that may run them.
    """
    binaries = postgres_binaries()
    if binaries is None:
        raise NoPostgres("no PostgreSQL server binaries: neither initdb on PATH nor /usr/lib/postgresql/*/bin")
    as_user: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="spikebit-pg-"))
    if os.geteuid() == 0:  # the server refuses to run as root
        try:
            user = pwd.getpwnam(ANY_USER)
        except KeyError:
            raise NoPostgres("PostgreSQL refuses to run as root and there is no user postgres") from None
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = ["setpriv", f"--reuid={ANY_USER}", f"--regid={user.pw_gid}", "--clear-groups", "--"]
    try:
        server = Postgres(folder, binaries, as_user, settings)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def postgres_binaries() -> Path | None:
    """The folder with ``initdb`` and ``postgres``: from PATH, or where Debian puts them."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return versions[-1].parent if versions else None


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
