"""The rows of ``NAME=service`` are of a service that has its machine for itself: whatever else runs here is to wait.

Where Linux weighs sessions (autogroups) and this user may, the sessions of the benchmark, its stack, its children and
its database server go before all others by 19 steps, in their own order; elsewhere nothing is changed. The detail of
each row says which.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.service import descendants

STEPS = 19
EVERY_S = 0.5


@contextmanager
def going_first(roots: Callable[[], tuple[int, ...]]) -> Iterator[None]:
    """Hold this process's descendants and those of ``roots`` before others while the block runs.

    Args:
        roots: processes that are no children of this one, such as a database server.
    """
    ended = threading.Event()
    before = niceness("self")

    def hold() -> None:
        while True:
            for root in (os.getpid(), *roots()):
                for pid in (root, *descendants(root)):
                    found = niceness(pid)
                    if found is not None and found >= 0:
                        _set(pid, found - STEPS)
            if ended.wait(EVERY_S):
                return

    thread = threading.Thread(target=hold, name="priority", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if before is not None:
            _set("self", before)


def niceness(pid: int | str) -> int | None:
    """Of a process's session; None where sessions are not weighed, or the process has ended."""
    try:
        return int(Path(f"/proc/{pid}/autogroup").read_text().rpartition("nice")[2])
    except (OSError, ValueError):
        return None


def _set(pid: int | str, value: int) -> None:
    try:
        Path(f"/proc/{pid}/autogroup").write_text(str(value))
    except OSError:  # it has ended, or this user may not
        return
