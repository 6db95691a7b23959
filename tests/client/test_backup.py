"""Backup and restore of a data folder, and what they refuse."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path

import pytest

from jobs.blobs import Blobs
from jobs.database import Database, open_database
from jobs.settings import Settings
from jobs.store import NewArtifact, Tenant, get_job, list_artifacts, publish
from spikebit.backup import back_up, restore
from spikebit.errors import Damaged, UsageError
from tests.jobs.make import DATA_BLOB, MODEL_BLOB, claimed, queued


@pytest.fixture
def live(tmp_path: Path) -> tuple[Path, Database, Blobs]:
    """A data folder with a job that published a file; its inputs' blobs have bytes."""
    settings = Settings(data=tmp_path / "data")
    database = open_database(settings.sql_url)
    blobs = Blobs(settings, database)
    tenant = Tenant(database, "default")
    queued(tenant)
    digest = blobs.put_bytes("default", b"plan").digest
    publish(database, claimed(tenant), [NewArtifact("plan", "plan.json", digest, 4, "application/json")], "none")
    for made_up in (MODEL_BLOB, DATA_BLOB):
        path = settings.blobs_folder / "t/default/sha256" / made_up.removeprefix("sha256:")
        path.write_bytes(b"input")
    (settings.data / "key").write_text("spk_secret\n")
    return settings.data, database, blobs


def test_a_backup_while_others_write_is_whole(live: tuple[Path, Database, Blobs], tmp_path: Path) -> None:
    data, _, blobs = live
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            digest = blobs.put_bytes("default", b"%d" % number).digest
            if number % 2:
                blobs.drop("default", digest)  # as a checkpoint that the next one replaced
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        made = back_up(data, tmp_path / "backup")
    finally:
        stop.set()
        writer.join()
    assert made.jobs == 1
    assert made.blobs >= 3
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "backup" / "key").stat().st_mode & 0o777 == 0o600
    stored = [path for path in (tmp_path / "backup" / "blobs").rglob("*") if path.is_file()]
    assert len(stored) == made.blobs
    # made-up inputs have made-up digests: real ones are checked by the restore
    for digest in (MODEL_BLOB, DATA_BLOB):
        (tmp_path / "backup/blobs/t/default/sha256" / digest.removeprefix("sha256:")).unlink()
    with pytest.raises(Damaged, match="missing or damaged"):
        restore(tmp_path / "backup", tmp_path / "empty")
    assert not (tmp_path / "empty" / "spikebit.db").exists()


def test_what_comes_back_is_what_there_was(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data")
    database = open_database(settings.sql_url)
    blobs = Blobs(settings, database)
    blobs.put_bytes("default", b"kept")
    back_up(settings.data, tmp_path / "backup")
    database.close()
    other = tmp_path / "other"
    assert restore(tmp_path / "backup", other).blobs == 1
    again = Settings(data=other)
    reopened = open_database(again.sql_url)
    view = Blobs(again, reopened).put_bytes("default", b"kept")
    assert Blobs(again, reopened).read("default", view.digest) == b"kept"
    with pytest.raises(UsageError, match="holds records already"):
        restore(tmp_path / "backup", other)
    path = next(path for path in (tmp_path / "backup" / "blobs").rglob("*") if path.is_file())
    path.chmod(0o600)
    path.write_bytes(b"else")
    with pytest.raises(Damaged, match="missing or damaged"):
        restore(tmp_path / "backup", tmp_path / "third")
    with (tmp_path / "backup" / "spikebit.db").open("r+b") as file:
        file.seek(100)
        file.write(b"damage")
    with pytest.raises(Damaged, match="not what was backed up"):
        restore(tmp_path / "backup", tmp_path / "fourth")


def test_refusals(live: tuple[Path, Database, Blobs], tmp_path: Path) -> None:
    data, _, _ = live
    with pytest.raises(UsageError, match="holds no"):
        back_up(tmp_path, tmp_path / "b")
    back_up(data, tmp_path / "backup")
    with pytest.raises(UsageError, match="exists already"):
        back_up(data, tmp_path / "backup")
    with pytest.raises(UsageError, match="is no backup"):
        restore(data, tmp_path / "x")
    used = tmp_path / "used"
    used.mkdir()
    with (used / "service.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="a service uses"):
            restore(tmp_path / "backup", used)
    (data / "blobs/t/default/sha256" / MODEL_BLOB.removeprefix("sha256:")).unlink()
    with pytest.raises(Damaged, match="1 blobs are recorded but not stored"):
        back_up(data, tmp_path / "second")


def test_unfinished_jobs_survive(live: tuple[Path, Database, Blobs], tmp_path: Path) -> None:
    data, database, _ = live
    tenant = Tenant(database, "default")
    waiting = queued(tenant)
    back_up(data, tmp_path / "backup")
    snapshot = Database(f"sqlite:///{tmp_path / 'backup' / 'spikebit.db'}")
    assert get_job(Tenant(snapshot, "default"), waiting).status == "queued"
    assert list_artifacts(Tenant(snapshot, "default"), waiting) == []
    snapshot.close()
