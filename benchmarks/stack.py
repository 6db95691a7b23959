"""The service as processes of a benchmark, each started, killed and started again by hand (DESIGN 8, scale-out).

``benchmarks.service`` runs the one command of a user; this runs the parts that a cluster would, so that any of them
can be hurt, held or counted alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from benchmarks.postgres import free_port
from benchmarks.service import descendants
from jobs.store import generate_key
from serve.redis import find_redis
from spikebit.client import Client
from spikebit.endpoint import Endpoint

ROOT = Path(__file__).resolve().parent.parent
START_S = 120.0
STOP_S = 20.0


@dataclass(frozen=True)
class Plan:
    """What a stack consists of.

    Args:
        folder: private to it; made here.
        settings: of the service, without the prefix, for every part.
        database_url: empty: SQLite in the data folder.
        compute: number of compute workers.
        intake: number of intake workers.
        variables: more environment variables, as they are.
        own: settings of single parts (``compute-0``), without the prefix.
    """

    folder: Path
    settings: Mapping[str, str]
    database_url: str = ""
    compute: int = 1
    intake: int = 1
    variables: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


class Stack:
    """A running stack; use it in a ``with`` statement.

    Parts are ``redis``, ``api``, ``compute-0`` …, ``intake-0`` …; the API listens on a socket of ours, so that what
    connects while it is dead waits for the next one.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.folder = plan.folder
        self.data = plan.folder / "data"
        self.key = generate_key()
        self.redis_port = free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._extra: dict[str, tuple[Mapping[str, str], tuple[str, ...]]] = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.computes = [f"compute-{number}" for number in range(plan.compute)]
        self.parts = ["redis", "api", *self.computes, *(f"intake-{number}" for number in range(plan.intake))]

    def __enter__(self) -> Self:
        self.data.mkdir(parents=True, mode=0o700)
        (self.folder / "key").write_text(self.key)
        try:
            for part in self.parts:
                self.start(part)
            self.wait_live()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def client(self) -> Client:
        """The library's client."""
        return Client(Endpoint(self.url, self.key, "a benchmark"))

    def http(self, timeout_s: float = 60.0) -> httpx.Client:
        """A plain client with the key, for requests whose every failure matters."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=timeout_s)

    def wait_live(self) -> None:
        """Wait until the API answers.

        Raises:
            RuntimeError: it does not; the message holds the end of its log.
        """
        try:
            with self.http(START_S) as http:
                http.get("/livez").raise_for_status()
        except httpx.HTTPError as error:
            raise RuntimeError(f"the API does not answer ({error}): …{self.log('api')[-2000:]}") from error

    def add(self, part: str, own: Mapping[str, str], prefix: tuple[str, ...] = ()) -> None:
        """Start one more part, with settings of its own and by a command that runs it elsewhere."""
        self._extra[part] = own, prefix
        self.parts.append(part)
        self.start(part)

    def start(self, part: str) -> None:
        """Start a part that does not run."""
        own, prefix = self._extra.get(part, (self.plan.own.get(part, {}), ()))
        passed = (self._listener.fileno(),) if part == "api" else ()
        with (self.folder / f"{part}.log").open("ab") as log:
            process = subprocess.Popen(
                [*prefix, *self._command(part)],
                env=self._environment() | prefixed(own),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=passed,
                start_new_session=True,
            )
        self.processes[part] = process

    def kill(self, part: str) -> None:
        """SIGKILL, as a host that runs out of memory would; its end is waited for."""
        self.processes[part].kill()
        self.processes[part].wait()

    def terminate(self, part: str) -> None:
        """An orderly end, then SIGKILL."""
        process = self.processes[part]
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill(part)

    def alive(self, part: str) -> bool:
        """Does the part run."""
        return self.processes[part].poll() is None

    def pid(self, part: str) -> int:
        """Of a part that was started."""
        return self.processes[part].pid

    def children(self, part: str) -> tuple[int, ...]:
        """Processes of jobs (one computes, one may wait warm) below a compute worker."""
        return tuple(pid for pid in descendants(self.pid(part)) if b"worker.child" in _command_line(pid))

    def log(self, part: str) -> str:
        """What the part has written so far."""
        return (self.folder / f"{part}.log").read_text(errors="replace")

    def end(self) -> None:
        """End everything, in the order in which parts need each other."""
        for part in reversed(self.parts):
            if part in self.processes and self.alive(part):
                self.processes[part].send_signal(signal.SIGTERM)
        until = time.monotonic() + STOP_S
        for process in self.processes.values():
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._listener.close()

    def _environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("SPIKEBIT_")}
        common = {
            "DATA": str(self.data),
            "REDIS_URL": f"redis://127.0.0.1:{self.redis_port}/0",
            "BOOTSTRAP_KEY_FILE": str(self.folder / "key"),
            "FD": str(self._listener.fileno()),
            "DATABASE_URL": self.plan.database_url,
        }
        return own | prefixed(common | dict(self.plan.settings)) | dict(self.plan.variables)

    def _command(self, part: str) -> Sequence[str]:
        if part == "redis":
            binary = find_redis()
            if binary is None:
                raise RuntimeError("no Redis server binary; `make setup` installs one")
            files = ["--save", "", "--appendonly", "yes", "--maxmemory-policy", "noeviction", "--dir", str(self.folder)]
            return [str(binary), "--port", str(self.redis_port), "--bind", "127.0.0.1", *files]
        words = ["api"] if part == "api" else ["worker", part.partition("-")[0]]
        return [sys.executable, "-m", *words]


def prefixed(settings: Mapping[str, str]) -> dict[str, str]:
    """Settings as environment variables.

    Example:
        >>> prefixed({"LEASE_S": "3"})
        {'SPIKEBIT_LEASE_S': '3'}
    """
    return {f"SPIKEBIT_{name}": value for name, value in settings.items()}


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
