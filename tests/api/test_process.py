"""The API as a process: what it loads, how fast it starts, how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from jobs.store import generate_key

MUST_START_S = 2.0
MUST_RSS_BYTES = 200 << 20


@dataclass
class Running:
    url: str
    key: str
    process: subprocess.Popen[bytes]
    start_s: float


@contextmanager
def run_api(folder: Path, **settings: str) -> Iterator[Running]:
    key = folder / "key"
    key.write_text(generate_key())
    listener = socket.create_server(("127.0.0.1", 0))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SPIKEBIT_")} | {
        "SPIKEBIT_DATA": str(folder / "state"),
        "SPIKEBIT_BOOTSTRAP_KEY_FILE": str(key),
        "SPIKEBIT_FD": str(listener.fileno()),
        **settings,
    }
    command = [sys.executable, "-m", "api"]
    began = time.monotonic()
    process = subprocess.Popen(command, env=environment, pass_fds=[listener.fileno()], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    try:
        with httpx.Client(base_url=url, trust_env=False) as http:
            assert http.get("/livez", timeout=30).status_code == 200  # the socket listens: this waits for the start
        yield Running(url, key.read_text(), process, time.monotonic() - began)
    finally:
        process.kill()
        process.wait()


@pytest.mark.service
def test_starts_small_fast_and_ends_in_order(tmp_path: Path) -> None:
    with run_api(tmp_path) as first:  # makes the database
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(timeout=10) == 0
    walls, busy = [], []
    for _ in range(3):  # the best of three: what the start takes, not what the machine did meanwhile
        with run_api(tmp_path) as api:
            proc = Path(f"/proc/{api.process.pid}")
            if not proc.exists():
                pytest.skip("no /proc here: size and time of a start are not measured")
            rss = next(int(line.split()[1]) for line in (proc / "status").read_text().splitlines() if "VmRSS" in line)
            ticks = sum(int(field) for field in (proc / "stat").read_text().rsplit(")", 1)[1].split()[11:13])
        assert rss * 1024 < MUST_RSS_BYTES
        walls.append(api.start_s)
        busy.append(ticks / os.sysconf("SC_CLK_TCK"))
        if walls[-1] < MUST_START_S:
            break
    # Where others (the other test processes too) hold the cores, its own CPU time is the time on an idle core.
    crowded = os.getloadavg()[0] > (os.cpu_count() or 1) / 2
    assert min(busy if crowded else walls) < MUST_START_S, (walls, busy)


@pytest.mark.service
def test_sigterm_ends_waiting_requests(tmp_path: Path) -> None:
    with run_api(tmp_path) as api:
        headers = {"Authorization": f"Bearer {api.key}"}
        with httpx.Client(base_url=api.url, headers=headers, trust_env=False, timeout=30) as http:
            digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
            assert http.put(f"/v1/blobs/{digest}").status_code == 201
            made = http.post("/v1/datasets", json={"blob": digest}).json()
            with http.stream("GET", f"/v1/datasets/{made['id']}", headers={"Prefer": "wait=1"}) as answer:
                assert answer.status_code == 200
            waiting = socket.create_connection(("127.0.0.1", int(api.url.rsplit(":", 1)[1])))
            request = f"GET /v1/datasets/{made['id']} HTTP/1.1\r\nHost: x\r\nPrefer: wait=60\r\n"
            waiting.sendall(f"{request}Authorization: Bearer {api.key}\r\n\r\n".encode())
            time.sleep(0.3)
            began = time.monotonic()
            api.process.send_signal(signal.SIGTERM)
            assert waiting.recv(100).startswith(b"HTTP/1.1 200")
            assert api.process.wait(timeout=10) == 0
            assert time.monotonic() - began < 5
            waiting.close()


@pytest.mark.service
def test_a_half_closed_upload_is_answered(tmp_path: Path) -> None:
    with run_api(tmp_path) as api:
        client = socket.create_connection(("127.0.0.1", int(api.url.rsplit(":", 1)[1])))
        head = f"PUT /v1/blobs/sha256:{'0' * 64} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
        client.sendall(f"{head}Authorization: Bearer {api.key}\r\n\r\nabc".encode())
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := client.recv(4096):
            answer += piece
        client.close()
        assert answer.startswith(b"HTTP/1.1 400")
        assert b'"code": "body_too_short"' in answer
        assert list((tmp_path / "state" / "tmp").iterdir()) == []


@pytest.mark.service
def test_a_stalled_upload_is_ended(tmp_path: Path) -> None:
    with run_api(tmp_path, SPIKEBIT_UPLOAD_STALL_S="0.3") as api:
        client = socket.create_connection(("127.0.0.1", int(api.url.rsplit(":", 1)[1])))
        head = f"PUT /v1/blobs/sha256:{'0' * 64} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
        client.sendall(f"{head}Authorization: Bearer {api.key}\r\n\r\nabc".encode())
        assert b"400" in client.recv(4096)
        client.close()


def test_loads_neither_torch_nor_the_engine_behind_the_specs() -> None:
    code = """
import sys, api.main
from api.app import create_app
heavy = [name for name in ("torch", "h5py", "scipy", "matplotlib", "numpy", "worker") if name in sys.modules]
engine = [name for name in sys.modules if name.startswith("engine.") and not name.startswith("engine.specs")]
print(heavy, engine)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"
