"""1 GiB over loopback by ``curl``: the service against a bare ASGI app on the same server, rounds interleaved."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.bare import FOLDER
from benchmarks.service import ROOT, Service, resident_bytes

SIZE = 1 << 30
ROUNDS, SYNCED_ROUNDS = 5, 2  # after one that only warms up
SAMPLE_S = 0.01


@dataclass(frozen=True)
class Rounds:
    """Bytes per second of every round, and how far the API's memory rose above its level before the very first."""

    service: list[float]
    bare: list[float]
    growth_bytes: list[int]

    @property
    def ratios(self) -> list[float]:
        """Service over bare, round by round."""
        return [mine / peer for mine, peer in zip(self.service, self.bare, strict=True)]


def upload_rounds(service: Service, *, fsync: bool) -> Rounds:
    """Upload a fresh GiB per round to both, one after the other, the order alternating; the first round is dropped.

    Both sides run the same server class with the same settings, write to the same folder's file system with the same
    calls, and read a file that has just been hashed, so that it is in the page cache.

    Raises:
        RuntimeError: no curl, or an upload was refused.
    """
    if shutil.which("curl") is None:
        raise RuntimeError("curl is not installed")
    pids = service.processes("api")
    if not pids:
        raise RuntimeError("no API process was found below the supervisor")
    folder = service.data / "bench"
    folder.mkdir(exist_ok=True)
    file = _write_file(folder / "gib.bin")
    speeds: dict[str, list[float]] = {"service": [], "bare": []}
    growth: list[int] = []
    with _bare_server(folder, fsync) as bare_url, _watch(pids) as memory:
        for number in range(1 + (SYNCED_ROUNDS if fsync else ROUNDS)):
            digest = _refresh(file)
            turns = ("service", "bare") if number % 2 == 0 else ("bare", "service")
            for turn in turns:
                if turn == "service":
                    url, key = f"{service.endpoint.url}/v1/blobs/sha256:{digest}", service.endpoint.key
                else:
                    url, key = f"{bare_url}/", None
                os.sync()  # nobody pays for what an earlier turn left to be written back
                speeds[turn].append(SIZE / _curl(file, url, key))
                _drop_object(service, digest)  # the bare app keeps nothing either
            growth.append(memory[1] - memory[0])
            memory[1] = memory[0]
    file.unlink()
    return Rounds(speeds["service"][1:], speeds["bare"][1:], growth)


def _write_file(path: Path) -> Path:
    piece = secrets.token_bytes(1 << 20)
    with path.open("wb") as file:
        for _ in range(SIZE >> 20):
            file.write(piece)
    return path


def _refresh(path: Path) -> str:
    """Make the content new, so that no round finds its blob held; returns the digest."""
    with path.open("r+b") as file:
        file.write(secrets.token_bytes(32))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _drop_object(service: Service, digest: str) -> None:
    """Free the disk of a round's object; nothing refers to it."""
    for path in service.data.rglob(digest):
        path.unlink()


def _curl(file: Path, url: str, key: str | None) -> float:
    """Seconds of one upload as curl counts them."""
    command = ["curl", "--silent", "--show-error", "--fail", "--noproxy", "*", "--output", os.devnull]
    command += ["--write-out", "%{time_total}", "--header", "Expect:", "--upload-file", str(file)]
    if key:
        command += ["--header", f"Authorization: Bearer {key}"]
    done = subprocess.run([*command, url], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"curl failed: {done.stderr.strip()}")
    return float(done.stdout)


@contextmanager
def _watch(pids: tuple[int, ...]) -> Iterator[list[int]]:
    """``[before, highest]`` resident bytes of some processes; the second is kept up to date."""
    memory = [sum(map(resident_bytes, pids))] * 2
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(SAMPLE_S):
            memory[1] = max(memory[1], sum(map(resident_bytes, pids)))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield memory
    finally:
        stop.set()
        thread.join()


@contextmanager
def _bare_server(folder: Path, fsync: bool) -> Iterator[str]:
    """The peer, on the server software of the service."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {name: value for name, value in os.environ.items() if not name.startswith("SPIKEBIT_")}
    environ = own | {FOLDER: str(folder), "SPIKEBIT_FSYNC": str(fsync).lower(), "SPIKEBIT_PORT": str(port)}
    environ |= {"SPIKEBIT_LOG_LEVEL": "error"}
    command = [sys.executable, "-m", "benchmarks.bare"]
    # A session of its own, as the service's parts have: Linux shares the CPU among sessions first (autogroup), so a
    # peer in the session of a busy shell would look several times slower than it is.
    process = subprocess.Popen(command, cwd=ROOT, env=environ, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 30
        while True:
            try:
                httpx.put(url, content=b"x", trust_env=False)
                break
            except httpx.TransportError:
                if time.monotonic() > until or process.poll() is not None:
                    raise RuntimeError("the bare server did not start") from None
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()
