"""One part of the service as its supervisor sees it: started in a session of its own, restarted with back-off."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

LOG_BYTES = 10 << 20  # a part's log file is moved aside when it is larger
READY_VARIABLE = "SPIKEBIT_READY_FD"
_FIRST_DELAY_S = 0.25
_LONGEST_DELAY_S = 30.0
_STEADY_S = 30.0  # a part that ran this long starts again at once, with the shortest delay

_log = logging.getLogger("serve")


@dataclass(frozen=True)
class PartSpec:
    """What to run.

    Args:
        name: word for the log.
        command: the program and its arguments.
        environment: variables added to the supervisor's own.
        inherited: file descriptors that the part gets.
        says_ready: the part writes a line to the descriptor in ``SPIKEBIT_READY_FD`` when it works.
        stop_s: time between TERM and KILL.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    inherited: tuple[int, ...] = ()
    says_ready: bool = False
    stop_s: float = 5.0


class Part:
    """A running part; every method is called by the supervisor's one thread."""

    def __init__(self, spec: PartSpec, logs: Path) -> None:
        self.spec = spec
        self.log_path = logs / f"{spec.name}.log"
        self.restarts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._failures = 0
        self._started_at = 0.0
        self._restart_at: float | None = None
        self._ready_fd: int | None = None
        self._ready = False

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process is not None else None

    @property
    def ready(self) -> bool:
        """Whether this process of the part has said that it works (always, for parts that say nothing)."""
        if not self.spec.says_ready:
            return self._process is not None
        if not self._ready and self._ready_fd is not None:
            with contextlib.suppress(BlockingIOError):
                self._ready = bool(os.read(self._ready_fd, 64))
        return self._ready

    def start(self) -> None:
        """Start it, tied to this process's life, its output appended to its log file."""
        _rotate(self.log_path)
        write_fd = self._new_ready_pipe() if self.spec.says_ready else None
        inherited = (*self.spec.inherited, *(() if write_fd is None else (write_fd,)))
        environment = {**os.environ, **self.spec.environment}
        if write_fd is not None:
            environment[READY_VARIABLE] = str(write_fd)
        launcher = (sys.executable, "-m", "serve.part", str(os.getpid()), "--")
        with self.log_path.open("ab") as log:
            os.fchmod(log.fileno(), 0o600)
            self._process = subprocess.Popen(
                [*launcher, *self.spec.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                pass_fds=inherited,
                start_new_session=True,
            )
        if write_fd is not None:
            os.close(write_fd)
        self._started_at = time.monotonic()
        self._restart_at = None
        _log.info("%s: started (pid %d)", self.spec.name, self._process.pid)

    def watch(self) -> None:
        """Notice its death, and start it again when its delay is over; call it a few times a second."""
        now = time.monotonic()
        if self._process is not None and (code := self._process.poll()) is not None:
            self._kill_group()
            self._process = None
            if now - self._started_at > _STEADY_S:
                self._failures = 0
            delay = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2**self._failures)
            self._failures += 1
            self._restart_at = now + delay
            _log.warning(
                "%s: ended (%s), starts again in %.2g s; log: %s", self.spec.name, _how(code), delay, self.log_path
            )
        if self._process is None and self._restart_at is not None and now >= self._restart_at:
            self.restarts += 1
            self.start()
        if self._process is not None and self.log_path.stat().st_size > LOG_BYTES:
            _copy_and_truncate(self.log_path)

    def ask_to_stop(self) -> None:
        """Send TERM."""
        self._restart_at = None
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait_stopped(self) -> None:
        """Wait for its end, kill it after ``stop_s``."""
        self._restart_at = None
        if self._process is None:
            return
        try:
            code = self._process.wait(self.spec.stop_s)
            _log.info("%s: ended (%s)", self.spec.name, _how(code))
        except subprocess.TimeoutExpired:
            _log.warning("%s: did not end within %g s, killed", self.spec.name, self.spec.stop_s)
        self._kill_group()
        self._process.wait()
        self._process = None
        if self._ready_fd is not None:
            os.close(self._ready_fd)
            self._ready_fd = None

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of its log, for the message of a failed start."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def _kill_group(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _new_ready_pipe(self) -> int:
        if self._ready_fd is not None:
            os.close(self._ready_fd)
        self._ready = False
        self._ready_fd, write_fd = os.pipe()
        os.set_blocking(self._ready_fd, False)
        return write_fd


def _how(code: int) -> str:
    if code >= 0:
        return f"status {code}"
    with contextlib.suppress(ValueError):  # real-time signals have no name
        return signal.Signals(-code).name
    return f"signal {-code}"


def _rotate(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))


def _copy_and_truncate(path: Path) -> None:
    """The part goes on writing to the same file: it appends, so it goes on at the new end."""
    path.with_suffix(".log.1").write_bytes(path.read_bytes())
    os.truncate(path, 0)
