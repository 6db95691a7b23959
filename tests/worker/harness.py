"""A service in a temporary folder, jobs for the fake engine, and waiting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from engine.specs.job import JobRequest, resolve_job
from jobs.store import (
    Draft,
    JobView,
    NewDataset,
    NewModel,
    Tenant,
    claim_intake,
    create_upload,
    get_job,
    intake_ready,
    list_events,
    submit,
)
from worker.service import Service, open_service
from worker.settings import WorkerSettings

T = TypeVar("T")
HERE = Path(__file__).resolve().parent
FAKE = "fake_engine:run"
QUICK: dict[str, Any] = {
    "lease_s": 2.0,
    "heartbeat_s": 0.2,
    "sweep_s": 0.3,
    "look_s": 0.2,
    "stop_grace_s": 1.0,
    "retry_pause_s": 0.0,
    "cancel_look_s": 0.1,
    "progress_s": 0.05,
    "child_engine": FAKE,
    "child_path": str(HERE),
}


class Bench:
    """A service's records and blobs, and the user's side of them."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.settings = WorkerSettings(data=folder, **(QUICK | settings))
        self.service: Service = open_service(self.settings, "compute")
        self.tenant = Tenant(self.service.database, "default")

    def close(self) -> None:
        self.service.doorbell.close()
        self.service.database.close()

    def submit(self, run_deadline_s: float | None = None, **orders: Any) -> str:
        """Queue a job that makes the fake engine follow the orders."""
        model = self._ready(NewModel(self._put(b"model"), {}))
        dataset = self._ready(NewDataset(self._put(json.dumps(orders).encode())))
        request = JobRequest(model=model, dataset=dataset, recipe="evaluate", seed=5)
        spec = resolve_job(request).model_dump(mode="json")
        draft = Draft(model, dataset, request.model_dump(mode="json"), spec, "test", run_deadline_s=run_deadline_s)
        return submit(self.tenant, draft, None, lambda view: {"id": view.id}).resource_id

    def job(self, identity: str) -> JobView:
        return get_job(self.tenant, identity)

    def wait(self, identity: str, *statuses: str, timeout_s: float = 40.0) -> JobView:
        """The job in one of these states."""
        return until(lambda: job if (job := self.job(identity)).status in statuses else None, timeout_s)

    def events(self, identity: str, kind: str) -> list[dict[str, Any]]:
        return [event.data for event in list_events(self.tenant, identity, 0, 1000) if event.kind == kind]

    def child_pid(self, identity: str) -> int:
        """The pid that the fake engine logged last, once it has."""

        def find() -> int | None:
            lines = [data["message"] for data in self.events(identity, "log")]
            pids = [int(line.split()[1]) for line in lines if line.startswith("pid ")]
            return pids[-1] if pids else None

        return until(find)

    def environment(self) -> dict[str, str]:
        """The settings for a process of its own."""
        names = ("data", "database_url", "redis_url", *QUICK, "warm_child", "child_memory_bytes")
        values = {name: getattr(self.settings, name) for name in names}
        return os.environ | {f"SPIKEBIT_{name.upper()}": str(v) for name, v in values.items() if v is not None}

    @contextmanager
    def worker(self, job_class: str = "compute") -> Iterator[subprocess.Popen[bytes]]:
        """A real worker process."""
        log = self.settings.data / f"worker-{time.monotonic_ns()}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "worker", job_class], env=self.environment(), stdout=out, stderr=out
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            print(log.read_text())

    def _put(self, data: bytes) -> str:
        return self.service.blobs.put_bytes("default", data).digest

    def _ready(self, new: NewModel | NewDataset) -> str:
        identity: str = create_upload(self.tenant, new, None, lambda view: {"id": view.id}).body["id"]
        claim = claim_intake(self.service.database, "test", 60)
        if claim is not None:  # None: the same content was registered before
            intake_ready(self.service.database, claim, new.blob, {})
        return identity


def until(look: Callable[[], T | None], timeout_s: float = 40.0) -> T:
    """The first true answer."""
    end = time.monotonic() + timeout_s
    while not (found := look()):
        if time.monotonic() > end:
            raise TimeoutError(f"nothing within {timeout_s} s")
        time.sleep(0.02)
    return found


def gone(pid: int) -> bool:
    """Whether no such process runs (a zombie does not run)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True
