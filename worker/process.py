"""A compute child as its supervisor sees it: start, send, events in a queue, bounded log, end."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from worker.protocol import MAX_LINE_BYTES, JobLine, Message, ProtocolError, decode, encode, encode_ack

_ROOT = Path(__file__).resolve().parent.parent
# What a child may know of our environment: where programs and libraries are, how many threads, which GPU.
_KEPT_VARIABLES = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "HOME",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "CUBLAS_WORKSPACE_CONFIG",
    "COVERAGE_PROCESS_START",
    "COVERAGE_PROCESS_CONFIG",
)


@dataclass(frozen=True)
class Exit:
    """The child's end: its wait status as ``subprocess`` gives it (negative: signal)."""

    code: int


@dataclass(frozen=True)
class Rubbish:
    """The child wrote something that is no message."""

    detail: str


Event = Message | Exit | Rubbish


class BoundedLog:
    """Text of a child: its beginning and its end, at most ``limit`` bytes, the middle is dropped.

    Example:
        >>> log = BoundedLog(limit=20)
        >>> for line in (b"begin\\n", b"x" * 50 + b"\\n", b"end\\n"): log.write(line)
        >>> log.getvalue().startswith(b"begin\\n") and log.getvalue().endswith(b"end\\n")
        True
    """

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Append; never blocks and never grows past the limit."""
        with self._lock:
            room = self._half - len(self._head)
            if room > 0:
                self._head += data[:room]
                data = data[room:]
            self._tail += data
            excess = len(self._tail) - self._half
            if excess > 0:
                del self._tail[:excess]
                self._dropped += excess

    def getvalue(self) -> bytes:
        """All that is kept, with a note where the middle is missing."""
        with self._lock:
            gap = f"\n... {self._dropped} bytes left out ...\n".encode() if self._dropped else b""
            return bytes(self._head) + gap + bytes(self._tail)


@dataclass(frozen=True)
class ChildCommand:
    """How children are started."""

    engine: str
    log_bytes: int = 1 << 20
    nice: int = 0
    extra_path: tuple[str, ...] = field(default=())


class Child:
    """One ``python -m worker.child`` in a session of its own; ``events`` ends with one :class:`Exit`.

    Args:
        command: how it is started.
        ahead: nobody waits for it yet, so it imports at low priority; every child computes at low priority.
    """

    def __init__(self, command: ChildCommand, *, ahead: bool = False) -> None:
        self.events: queue.Queue[Event] = queue.Queue()
        self.log = BoundedLog(command.log_bytes)
        arguments = [sys.executable, "-m", "worker.child", f"--parent={os.getpid()}", f"--engine={command.engine}"]
        arguments += [f"--nice={command.nice}", *(["--ahead"] if ahead else [])]
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(command.extra_path),
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=target, name=f"child-{self.pid}", daemon=True)
            for target in (self._read_events, self._read_log)
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """Process id, and id of its process group."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def wait_ready(self, timeout_s: float) -> Event | None:
        """The child's first event (``ready`` when it is warm); None when none comes in time."""
        try:
            return self.events.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def send_job(self, line: JobLine) -> None:
        """Give it its job; a child that is dead already shows as :class:`Exit`."""
        self._send(encode(line))

    def acknowledge(self, number: int) -> None:
        """Checkpoint ``number`` is visible."""
        self._send(encode_ack(number))

    def stop(self, grace_s: float) -> int:
        """TERM, then KILL after ``grace_s``, to the whole process group; returns the wait status."""
        if grace_s > 0 and self.alive:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
        self._signal(signal.SIGKILL)  # also what the child may have started
        code = self._process.wait()
        for reader in self._readers:
            reader.join(1.0)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError, ValueError):
                if pipe is not None and not any(reader.is_alive() for reader in self._readers):
                    pipe.close()
        return code

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):
            _open(self._process.stdin).write(data)
            _open(self._process.stdin).flush()

    def _signal(self, sig: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, sig)

    def _read_events(self) -> None:
        for line in _lines(_open(self._process.stdout)):
            try:
                self.events.put(decode(line))
            except ProtocolError as error:
                self.events.put(Rubbish(str(error)))
                break
        self.events.put(Exit(self._process.wait()))

    def _read_log(self) -> None:
        stream = _open(self._process.stderr)
        with contextlib.suppress(OSError, ValueError):
            while data := os.read(stream.fileno(), 65536):
                self.log.write(data)


class WarmPool:
    """At most one child that has imported everything and run nothing."""

    def __init__(self, command: ChildCommand, enabled: bool = True, start_timeout_s: float = 120.0) -> None:
        self._command = command
        self._enabled = enabled
        self._timeout_s = start_timeout_s
        self._spare: Child | None = None

    def prepare(self) -> None:
        """Start the spare one if there is none; returns at once. Call it from the thread that outlives the child."""
        if self._enabled and (self._spare is None or not self._spare.alive):
            self.close()
            self._spare = Child(self._command, ahead=True)

    def take(self) -> Child:
        """A child that was started, warm or still warming up; it is the caller's from now on."""
        child, self._spare = self._spare, None
        if child is not None and child.alive:
            return child
        if child is not None:
            child.stop(0)
        return Child(self._command)

    def close(self) -> None:
        """End the spare one."""
        if self._spare is not None:
            self._spare.stop(0)
            self._spare = None

    def wait_ready(self, child: Child) -> Event | None:
        """See :meth:`Child.wait_ready`, with the pool's time limit."""
        return child.wait_ready(self._timeout_s)


def child_environment(extra_path: tuple[str, ...] = ()) -> dict[str, str]:
    """The scrubbed environment: no URL, no key, nothing but :data:`_KEPT_VARIABLES` and the import path.

    Example:
        >>> any(name.startswith("SPIKEBIT") for name in child_environment())
        False
    """
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    kept["PYTHONPATH"] = os.pathsep.join((str(_ROOT), *extra_path))
    kept["PYTHONHASHSEED"] = "0"
    # glibc: keep freed arrays instead of asking the kernel for zeroed pages again in each batch (evaluation: 1.7 times)
    kept["MALLOC_MMAP_THRESHOLD_"] = kept["MALLOC_TRIM_THRESHOLD_"] = str(1 << 30)
    kept["PYTHONUNBUFFERED"] = "1"
    return kept


def describe_status(code: int) -> str:
    """A wait status of ``subprocess`` in words.

    Example:
        >>> describe_status(-9), describe_status(3)
        ('signal SIGKILL', 'status 3')
    """
    if code >= 0:
        return f"status {code}"
    with contextlib.suppress(ValueError):  # real-time signals have no name
        return f"signal {signal.Signals(-code).name}"
    return f"signal {-code}"


def _open(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise RuntimeError("the child was started without this pipe")
    return stream


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Whole lines; what a dying child left unfinished is dropped, a line without end is cut so that it is refused."""
    with contextlib.suppress(OSError, ValueError):
        while line := stream.readline(MAX_LINE_BYTES + 2):
            if line.endswith(b"\n") or len(line) > MAX_LINE_BYTES:
                yield line
