"""A real embedded service for a benchmark: ``python -m serve`` on a data folder of its own."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from spikebit.client import Client
from spikebit.endpoint import Endpoint, find_endpoint

ROOT = Path(__file__).resolve().parent.parent
READY_S = 120.0
STOP_S = 60.0


@dataclass(frozen=True)
class Service:
    """A running service."""

    endpoint: Endpoint
    data: Path
    pid: int

    def connect(self) -> Client:
        """A client of it."""
        return Client(self.endpoint)

    def processes(self, word: str) -> tuple[int, ...]:
        """Process ids below the supervisor whose command line holds ``word`` (``api``, ``worker``)."""
        return tuple(pid for pid in descendants(self.pid) if word in _command(pid))


@contextmanager
def running_service(extra: Mapping[str, str] | None = None) -> Iterator[Service]:
    """Start a service with its own state, wait for ``READY``, stop it in the end.

    Args:
        extra: settings of the service as environment variables.

    Raises:
        RuntimeError: it did not become ready; the message holds the end of its output.
    """
    with tempfile.TemporaryDirectory(prefix="spikebit-bench-") as folder:
        own = {name: value for name, value in os.environ.items() if not name.startswith("SPIKEBIT_")}
        environ = own | {"SPIKEBIT_DATA": folder} | dict(extra or {})
        log = Path(folder) / "serve.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                (sys.executable, "-m", "serve"),
                cwd=ROOT,
                env=environ,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        try:
            _wait_ready(process, log)
            yield Service(find_endpoint(environ), Path(folder), process.pid)
        finally:
            _stop(process)


def _wait_ready(process: subprocess.Popen[str], log: Path) -> None:
    lines: queue.Queue[str] = queue.Queue()
    output = process.stdout
    if output is None:
        raise RuntimeError("the service was started without a pipe")

    def read() -> None:
        for line in output:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    until = time.monotonic() + READY_S
    while (left := until - time.monotonic()) > 0:
        try:
            line = lines.get(timeout=left)
        except queue.Empty:
            break
        if line.startswith("READY"):
            return
        if not line:
            break
    raise RuntimeError(f"the service did not become ready: …{log.read_text(errors='replace')[-2000:]}")


def _stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()  # its parts end with it
        process.wait()


def descendants(pid: int) -> tuple[int, ...]:
    """All processes below a process."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue  # it ended meanwhile
            parents.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return tuple(found)


def _command(pid: int) -> tuple[str, ...]:
    try:
        return tuple((Path("/proc") / str(pid) / "cmdline").read_text().split("\0"))
    except OSError:
        return ()


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 where it has ended."""
    try:
        pages = int((Path("/proc") / str(pid) / "statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
