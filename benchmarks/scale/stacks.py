"""Stacks for these rows: on SQLite or on PostgreSQL, with the digits network uploaded."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.chaos.run import upload_inputs
from benchmarks.postgres import run_postgres
from benchmarks.scale.priority import going_first, niceness
from benchmarks.stack import Plan, Stack

NOOP = {"CHILD_ENGINE": "benchmarks.noop_engine:run", "LOG_LEVEL": "warning"}


@contextmanager
def running(
    database: str, *, compute: int = 1, settings: Mapping[str, str] | None = None, train: int = 96, test: int = 40
) -> Iterator[tuple[Stack, dict[str, str]]]:
    """A stack and the two ids of a job request.

    Args:
        database: ``sqlite`` or ``postgres`` (on its defaults, with fsync).
        compute: workers that wait for jobs.
        settings: of the service.
        train: samples of the training split.
        test: samples of the test split.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spikebit-scale-")))
        server = stack.enter_context(run_postgres("")) if database == "postgres" else None
        stack.enter_context(going_first(lambda: () if server is None else (server.pid(),)))
        url = "" if server is None else server.new_database()
        plan = Plan(folder / "stack", settings or {}, url, compute=compute)
        started = stack.enter_context(Stack(plan))
        yield started, upload_inputs(started, train, test)


def conditions() -> dict[str, float | int | None]:
    """What a row's detail says of the machine: its load, and how far this benchmark's sessions go before others."""
    return {"load": os.getloadavg()[0], "session_niceness": niceness("self")}


def hold_workers(stack: Stack) -> None:
    """End the compute workers: what is submitted stays queued."""
    for part in stack.computes:
        stack.terminate(part)


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used (0 after its end)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / 100.0  # the kernel counts in hundredths


def wait_until_idle(stack: Stack, jobs: list[str], patience_s: float = 600.0) -> None:
    """Wait until the last of these jobs has ended.

    Raises:
        TimeoutError: they did not.
    """
    until = time.monotonic() + patience_s
    with stack.http() as http:
        for job in reversed(jobs):
            while http.get(f"/v1/jobs/{job}").json()["status"] in ("queued", "running"):
                if time.monotonic() > until:
                    raise TimeoutError(f"{job} did not end within {patience_s:.0f} s")
                time.sleep(0.05)
