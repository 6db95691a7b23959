"""What happened, as lines of JSON: written by a slice while it runs, read by the checker when it is over.

Kinds of lines (``t`` is seconds on the slice's own clock, ``stack`` the layout's name):

- ``begin`` (environment, settings) and ``end`` of the slice; a history without ``end`` was cut short and is not judged;
- ``fault`` (what, part, kills): something was hurt; ``kills`` is 1 for each SIGKILL that ended a running process;
- ``died``: a part that nobody hurt ended by itself;
- ``ack`` (key, job, request): the service answered 202; ``refused`` (key, status, code): it answered something else;
- ``seen`` (job, status, verdict): a user's look at a job, where it differs from the look before;
- ``watched`` (job, ids, ended): event ids that one watcher got over all its connections;
- ``row`` (table, values): the records at the end, read by SQL; ``object`` (digest, age_s): the store's files;
- ``served`` (job, status, ids, artifacts): the same job as the API shows it at the end.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class History:
    """Appends lines; any thread may."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def write(self, kind: str, stack: str = "", **values: Any) -> None:
        """One line, on the disk's way at once."""
        line = {"t": round(time.monotonic() - self._began, 3), "kind": kind, "stack": stack, **values}
        with self._lock:
            if not self._file.closed:  # a thread that is late writes nothing behind the end
                self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
                self._file.flush()

    def close(self) -> None:
        """No more lines."""
        with self._lock:
            self._file.close()


def read_history(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of one slice; a last line that was cut off is left out."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                yield json.loads(line)
