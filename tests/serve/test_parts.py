"""The pieces of the embedded supervisor, without a service."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.database import Database, open_database
from jobs.store import verify_key
from serve.keys import ensure_key
from serve.lock import FolderInUse, FolderLock
from serve.process import Part, PartSpec
from serve.redis import find_redis, make_socket_folder, redis_command
from tests.worker.harness import gone, until


def part(tmp_path: Path, code: str, **options: object) -> Part:
    return Part(PartSpec("part", (sys.executable, "-c", code), **options), tmp_path)  # type: ignore[arg-type]


def test_the_lock_ends_with_its_holder(tmp_path: Path) -> None:
    with FolderLock(tmp_path), pytest.raises(FolderInUse, match=f"process {os.getpid()}"):
        FolderLock(tmp_path).__enter__()
    with FolderLock(tmp_path):
        pass


def test_a_part_says_when_it_is_ready_and_is_killed_when_it_does_not_end(tmp_path: Path) -> None:
    code = (
        "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "os.write(int(os.environ['SPIKEBIT_READY_FD']), b'ready')\nprint('words', flush=True)\ntime.sleep(60)"
    )
    stubborn = part(tmp_path, code, says_ready=True, stop_s=0.3)
    stubborn.start()
    pid = stubborn.pid
    assert pid is not None
    until(lambda: stubborn.ready, 10)
    until(lambda: stubborn.log_tail() == "words", 5)
    stubborn.ask_to_stop()
    stubborn.wait_stopped()
    assert gone(pid)
    assert stubborn.pid is None


def test_a_dead_part_is_started_again_each_time_a_little_later(tmp_path: Path) -> None:
    dying = part(tmp_path, "print('died')")
    dying.start()

    def restarted() -> bool:
        dying.watch()
        return dying.restarts >= 2

    until(restarted, 20)
    dying.ask_to_stop()
    dying.wait_stopped()
    assert dying.log_path.read_text().startswith("died")


def test_a_part_is_not_started_for_another_parent() -> None:
    command = [sys.executable, "-m", "serve.part", "1", "--", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "supervisor is gone" in done.stderr


def test_redis_has_no_port_and_a_short_private_socket(tmp_path: Path) -> None:
    folder = make_socket_folder()
    words = redis_command(Path("redis-server"), folder / "redis.sock", tmp_path)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(str(folder / "redis.sock")) < 100
    folder.rmdir()
    for name, value in (("port", "0"), ("appendonly", "yes"), ("maxmemory-policy", "noeviction")):
        assert words[words.index(f"--{name}") + 1] == value


def test_the_socket_folder_of_a_killed_service_is_removed(tmp_path: Path) -> None:
    note = tmp_path / "socket-folder"
    first = make_socket_folder(note)
    (first / "redis.sock").touch()
    second = make_socket_folder(note)
    assert not first.exists()
    assert second.is_dir()
    second.rmdir()
    note.write_text(str(tmp_path))  # not one of ours
    make_socket_folder(note).rmdir()
    assert tmp_path.is_dir()


def test_a_system_server_comes_before_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = tmp_path / "valkey-server"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis() == binary


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(f"sqlite:///{tmp_path / 'spikebit.db'}")


def test_the_key_is_made_once_and_known(tmp_path: Path, database: Database) -> None:
    path = ensure_key(tmp_path, database, "default")
    first = path.read_text()
    assert ensure_key(tmp_path, database, "default").read_text() == first
    assert path.stat().st_mode & 0o777 == 0o600
    principal = verify_key(database, first.strip())
    assert principal is not None
    assert principal.tenant_id == "default"
    path.write_text("nonsense")
    with pytest.raises(ValueError, match="remove the file to get a new key"):
        ensure_key(tmp_path, database, "default")
    database.close()
