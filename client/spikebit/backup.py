"""Backup of an embedded service's data folder while it runs, and restore into a folder that no service uses.

A backup holds a snapshot of the records (SQLite's online backup), every blob that the snapshot knows, and the API key.
Blobs never change, so they are copied before the snapshot and again after it; one that was collected in between is no
longer known to the next snapshot, which is then taken. Redis holds nothing that is worth keeping.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from spikebit.errors import Damaged, UsageError

DATABASE, BLOBS, KEY, MANIFEST, LOCK = "spikebit.db", "blobs", "key", "backup.json", "service.lock"
SNAPSHOTS = 5  # taken until one whose blobs are all there
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Backup:
    """What a backup holds."""

    made_at: str
    schema: str
    jobs: int
    blobs: int
    blob_bytes: int


def back_up(data: Path, target: Path) -> Backup:
    """Copy a data folder, whether its service runs or not.

    Args:
        data: the folder of the service.
        target: a new folder; it gets its name only when everything is in it.

    Raises:
        UsageError: there are no records, or ``target`` exists.
        Damaged: the records know blobs that the folder does not hold.
    """
    if not (data / DATABASE).is_file():
        raise UsageError(f"{data} holds no {DATABASE}: not the data folder of an embedded service", code="no_data")
    if target.exists():
        raise UsageError(f"{target} exists already", code="target_exists", advice="Name a folder that is not there.")
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, mode=0o700)
    missing: list[str] = []
    _copy_blobs(data, partial, _held(data / DATABASE))
    for _ in range(SNAPSHOTS):
        _snapshot(data / DATABASE, partial / DATABASE)
        missing = _copy_blobs(data, partial, _held(partial / DATABASE))
        if not missing:
            break
    if missing:
        raise Damaged(f"{len(missing)} blobs are recorded but not stored, {missing[0]} among them", code="blob_missing")
    held = _held(partial / DATABASE)
    for path in [path for path in (partial / BLOBS).rglob("*") if path.is_file() and _key_of(path) not in held]:
        path.unlink()  # collected before the snapshot that counts
    if (data / KEY).is_file():
        _copy(data / KEY, partial / KEY, 0o600)
    backup = Backup(datetime.now(UTC).isoformat(timespec="seconds"), *_counts(partial / DATABASE))
    manifest = {**backup.__dict__, "database_sha256": _digest(partial / DATABASE)}
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    partial.rename(target)
    return backup


def restore(source: Path, data: Path) -> Backup:
    """Put a backup into a data folder; every file's digest is checked before anything is in its place.

    Raises:
        UsageError: ``source`` is no backup, a service uses ``data``, or it holds records already.
        Damaged: a file of the backup is not what was backed up.
    """
    try:
        manifest = json.loads((source / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{source} is no backup: {MANIFEST} cannot be read", code="no_backup") from error
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(data):
        if (data / DATABASE).exists() or (data / BLOBS).exists():
            raise UsageError(f"{data} holds records already", code="target_exists", advice="Move them away first.")
        if _digest(source / DATABASE) != manifest["database_sha256"]:
            raise Damaged(f"{source / DATABASE} is not what was backed up", code="damaged_backup")
        staged = data / "restore.partial"
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(mode=0o700)
        missing = _copy_blobs(source, staged, _held(source / DATABASE))
        damaged = [path for path in (staged / BLOBS).rglob("*") if path.is_file() and _digest(path) != path.name]
        if missing or damaged:
            what = missing[0] if missing else damaged[0].name
            raise Damaged(f"blob {what} of the backup is missing or damaged", code="damaged_backup")
        (staged / BLOBS).rename(data / BLOBS)
        if (source / KEY).is_file():
            _copy(source / KEY, data / KEY, 0o600)
        _copy(source / DATABASE, staged / DATABASE, 0o600)
        (staged / DATABASE).rename(data / DATABASE)
        staged.rmdir()
    return Backup(**{name: manifest[name] for name in Backup.__dataclass_fields__})


@contextlib.contextmanager
def _locked(data: Path) -> Iterator[None]:
    """Hold the lock that a running service holds."""
    handle = os.open(data / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UsageError(f"a service uses {data}", code="in_use", advice="Stop it first.") from None
    finally:
        os.close(handle)


def _snapshot(source: Path, target: Path) -> None:
    with contextlib.closing(_open(source)) as live, contextlib.closing(sqlite3.connect(target)) as copy:
        live.backup(copy, pages=4096, sleep=0.01)  # in pieces: writers of the service do not wait for all of it
        copy.execute("PRAGMA journal_mode=DELETE")
    target.chmod(0o600)


def _held(database: Path) -> set[str]:
    """Keys of the blobs that the records know."""
    with contextlib.closing(_open(database)) as connection:
        rows = connection.execute("SELECT tenant_id, digest FROM blobs").fetchall()
    return {f"t/{tenant}/sha256/{digest.removeprefix('sha256:')}" for tenant, digest in rows}


def _copy_blobs(data: Path, target: Path, keys: set[str]) -> list[str]:
    """Copy what is not there yet; the keys that ``data`` does not hold."""
    (target / BLOBS).mkdir(exist_ok=True, mode=0o700)
    missing = []
    for key in sorted(keys):
        source, copy = data / BLOBS / key, target / BLOBS / key
        if copy.exists():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            _copy(source, copy, 0o400)
        except FileNotFoundError:
            missing.append(key)
    return missing


def _copy(source: Path, target: Path, mode: int) -> None:
    """Under another name first: a copy that was broken off is never taken for the file."""
    half = target.with_name(target.name + ".half")
    shutil.copyfile(source, half)
    half.chmod(mode)
    half.rename(target)


def _counts(database: Path) -> tuple[str, int, int, int]:
    with contextlib.closing(_open(database)) as connection:
        schema = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        jobs = connection.execute("SELECT count(*) FROM jobs").fetchone()[0]
        blobs, size = connection.execute("SELECT count(*), coalesce(sum(size), 0) FROM blobs").fetchone()
    return str(schema), int(jobs), int(blobs), int(size)


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30)


def _key_of(path: Path) -> str:
    return "/".join(path.parts[-4:])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
