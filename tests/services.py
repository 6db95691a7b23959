"""Servers that tests start for themselves: a private PostgreSQL cluster."""

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
import pytest

ANY_USER = "postgres"


def postgres_binaries() -> Path | None:
    """The folder with ``initdb`` and ``postgres``: from PATH, or where Debian puts them."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[-3]))
    return versions[-1].parent if versions else None


class Postgres:
    """A running private cluster; ``new_database`` gives the URL of an empty schema."""

    def __init__(self, port: int) -> None:
        self._admin = f"host=127.0.0.1 port={port} user={ANY_USER} dbname=postgres"
        self._port = port

    def new_database(self) -> str:
        """SQLAlchemy URL of a fresh schema: a database is 300 files, which a busy disk takes long to remove."""
        name = "t" + uuid.uuid4().hex
        with psycopg.connect(self._admin, autocommit=True) as connection:
            connection.execute(f'CREATE SCHEMA "{name}"'.encode())
        return f"postgresql+psycopg://{ANY_USER}@127.0.0.1:{self._port}/postgres?options=-csearch_path%3D{name}"


@contextmanager
def run_postgres() -> Iterator[Postgres]:
    """Start a cluster in a temporary folder on a free loopback port, and remove it at the end."""
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server binaries: neither initdb on PATH nor /usr/lib/postgresql/*/bin")
    as_user: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="spikebit-pg-"))
    if os.geteuid() == 0:  # the server refuses to run as root
        try:
            user = pwd.getpwnam(ANY_USER)
        except KeyError:
            pytest.skip("PostgreSQL refuses to run as root and there is no user postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = ["setpriv", f"--reuid={ANY_USER}", f"--regid={user.pw_gid}", "--clear-groups", "--"]
    port, data = _free_port(), folder / "data"
    try:
        initdb = [binaries / "initdb", "-D", data, "-U", ANY_USER, "-A", "trust", "-N", "-E", "UTF8", "--locale=C"]
        _run(as_user, initdb)
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        control = [binaries / "pg_ctl", "-D", data, "-w", "-t", "60"]
        _run(as_user, [*control, "-l", folder / "log", "-o", options, "start"])
        try:
            yield Postgres(port)
        finally:
            _run(as_user, [*control, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """One cluster for the whole session; skips with a reason where it cannot be started."""
    with run_postgres() as server:
        yield server


def _run(as_user: list[str], command: list[str | Path]) -> None:
    subprocess.run([*as_user, *command], check=True, capture_output=True, cwd="/", timeout=90)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
