"""Private folders on the local disk for attempts, removed when their worker is done or found dead."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "worker-"
_LOCK = "lock"


class Workspace:
    """One worker's folder below ``tmp``; a lock in it, dropped by the kernel, says that the worker lives.

    Args:
        temporary: the service's folder for temporary files.

    Example:
        >>> workspace = Workspace(Path(tempfile.mkdtemp()))
        >>> with workspace.folder("attempt") as folder:
        ...     oct(folder.stat().st_mode & 0o777)
        '0o700'
        >>> folder.exists()
        False
        >>> workspace.close()
    """

    def __init__(self, temporary: Path) -> None:
        temporary.mkdir(parents=True, exist_ok=True, mode=0o700)
        _remove_orphans(temporary)
        hidden = Path(tempfile.mkdtemp(prefix="new-", dir=temporary))
        self._lock = os.open(hidden / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its name says "worker" only now that it is locked: another one that starts would take it for an orphan.
        self.path = hidden.rename(temporary / hidden.name.replace("new-", _PREFIX, 1))

    @contextmanager
    def folder(self, name: str) -> Iterator[Path]:
        """A new private folder (0700), gone at the end whatever happened."""
        path = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.path))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        """Remove everything of this worker."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _remove_orphans(temporary: Path) -> None:
    """Remove the folders of workers that were killed: those whose lock is free."""
    for folder in temporary.glob(f"{_PREFIX}*"):
        try:
            fd = os.open(folder / _LOCK, os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue
        finally:
            os.close(fd)
