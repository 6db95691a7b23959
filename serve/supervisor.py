"""The embedded service: private Redis, API, compute and intake worker, started, watched and ended together.

The data folder's lock says that there is one. The listening socket is bound here and inherited by the API, so a port
is never lost to somebody else while a dead API starts again.
"""

from __future__ import annotations

import logging
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from jobs.database import open_database
from jobs.devices import cuda_devices
from jobs.settings import Settings
from serve.keys import ensure_key, remove_endpoint, write_endpoint
from serve.lock import FolderLock
from serve.process import Part, PartSpec
from serve.redis import MISSING, find_redis, make_socket_folder, redis_command, wait_for_ping

START_S = 120.0
REDIS_START_S = 20.0
LOOK_WITHOUT_BELL_S = 1.0  # with no Redis at all the workers look more often
MOST_EARLY_DEATHS = 5  # a part that dies this often before the service was ready will not recover by itself
_TICK_S = 0.1
_BACKLOG = 1024

_log = logging.getLogger("serve")


class StartFailed(RuntimeError):
    """A part did not come up; the message holds the end of its log."""


@dataclass
class StopFlag:
    """Raised by a signal handler: a plain value, since the lock of an Event may be held by what was interrupted."""

    raised: bool = False

    def wait(self, seconds: float) -> bool:
        """Sleep, then say whether it is raised."""
        if not self.raised:
            time.sleep(seconds)
        return self.raised


class EmbeddedService:
    """All parts of one data folder.

    Args:
        settings: of the service; ``data``, ``host`` and ``port`` matter here.
        stopping: raised (by a signal) to end everything.
    """

    def __init__(self, settings: Settings, stopping: StopFlag) -> None:
        self._settings = settings
        self._stopping = stopping
        self._parts: list[Part] = []
        self._redis: Part | None = None
        self._socket_folder: Path | None = None
        self.url = ""

    def run(self) -> None:
        """Start, say ``READY``, watch until ``stopping``, end in order.

        Raises:
            FolderInUse: another service holds the data folder.
            StartFailed: a part does not come up.
            OSError: the folder or the port cannot be used.
        """
        folder = self._settings.data
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with ExitStack() as stack:
            stack.enter_context(FolderLock(folder))
            remove_endpoint(folder)  # of a service that was killed
            stack.callback(self._stop)
            self._start(stack)
            if self._wait_ready():
                write_endpoint(folder, self.url)
                stack.callback(remove_endpoint, folder)
                print(f"READY {self.url}", flush=True)
                self._watch()

    def _start(self, stack: ExitStack) -> None:
        settings = self._settings
        logs = settings.data / "logs"
        logs.mkdir(exist_ok=True, mode=0o700)
        listener = stack.enter_context(_listen(settings.host, settings.port))
        host, port = listener.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        environment = {"SPIKEBIT_DATA": str(settings.data.absolute())}
        environment |= self._start_redis(logs)
        self._prepare_records()
        devices = cuda_devices(settings.cuda_devices)
        self._parts = [Part(spec, logs) for spec in _part_specs(environment, listener.fileno(), devices)]
        for part in self._parts:
            part.start()

    def _start_redis(self, logs: Path) -> dict[str, str]:
        """The doorbell's settings for the other parts; a Redis of the user's own is used as it is."""
        if self._settings.redis_url is not None:
            return {}
        binary = find_redis()
        if binary is None:
            _log.warning(MISSING)
            return {"SPIKEBIT_LOOK_S": str(min(self._settings.look_s, LOOK_WITHOUT_BELL_S))}
        data = self._settings.data / "redis"
        data.mkdir(exist_ok=True, mode=0o700)
        folder = self._socket_folder = make_socket_folder(data / "socket-folder")
        socket_path = folder / "redis.sock"
        command = tuple(redis_command(binary, socket_path, data))
        self._redis = Part(PartSpec("redis", command, stop_s=2.0), logs)
        self._redis.start()
        if not wait_for_ping(socket_path, REDIS_START_S):
            raise StartFailed(f"redis does not answer; the end of {self._redis.log_path}:\n{self._redis.log_tail()}")
        return {"SPIKEBIT_REDIS_URL": f"redis+socket://{socket_path}"}

    def _prepare_records(self) -> None:
        settings = self._settings
        database = open_database(settings.sql_url, durable=settings.fsync)
        try:
            ensure_key(settings.data, database, settings.tenant)
        finally:
            database.close()

    def _wait_ready(self) -> bool:
        """False: told to stop before the service was ready."""
        end = time.monotonic() + START_S
        while not self._stopping.wait(_TICK_S):
            self._watch_once()
            for part in self._parts:
                if part.restarts >= MOST_EARLY_DEATHS:
                    raise StartFailed(f"{part.spec.name} ends again and again; its log ends with:\n{part.log_tail()}")
            if all(part.ready for part in self._parts) and _answers(f"{self.url}/readyz"):
                return True
            if time.monotonic() > end:
                late = ", ".join(part.spec.name for part in self._parts if not part.ready) or "readyz"
                raise StartFailed(f"not ready after {START_S:g} s, still waiting for: {late}; logs are in logs/")
        return False

    def _watch(self) -> None:
        while not self._stopping.wait(_TICK_S):
            self._watch_once()

    def _watch_once(self) -> None:
        for part in (*self._parts, *([self._redis] if self._redis is not None else [])):
            part.watch()

    def _stop(self) -> None:
        """API and workers (they give their jobs back) are told at once, in this order; Redis goes last."""
        _log.info("ending")
        for part in self._parts:
            part.ask_to_stop()
        for part in self._parts:
            part.wait_stopped()
        if self._redis is not None:
            self._redis.ask_to_stop()
            self._redis.wait_stopped()
        if self._socket_folder is not None:
            shutil.rmtree(self._socket_folder, ignore_errors=True)


def _part_specs(environment: dict[str, str], listener_fd: int, devices: list[str]) -> tuple[PartSpec, ...]:
    python = sys.executable
    api = environment | {"SPIKEBIT_FD": str(listener_fd)}
    cuda = (
        PartSpec(
            f"cuda-{name}", (python, "-m", "worker", "cuda", "--device", name), environment, says_ready=True, stop_s=9.0
        )
        for name in devices
    )
    return (
        PartSpec("api", (python, "-m", "api"), api, inherited=(listener_fd,), stop_s=5.0),
        PartSpec("compute", (python, "-m", "worker", "compute"), environment, says_ready=True, stop_s=9.0),
        PartSpec("intake", (python, "-m", "worker", "intake"), environment, says_ready=True, stop_s=9.0),
        *cuda,
    )


@contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket; port 0: any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise OSError(error.errno, f"{host}:{port} cannot be used: {error.strerror}; set SPIKEBIT_PORT") from None
        listener.listen(_BACKLOG)
        yield listener


def _answers(url: str) -> bool:
    """Whether the address answers 200; no proxy is asked for loopback."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2.0) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False
