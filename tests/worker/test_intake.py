"""The supervision of the child that reads uploads; the child here is a fake."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.store import NewModel, UploadView, create_upload, get_upload, sweep
from tests.worker.harness import HERE, Bench
from worker.intake import IntakeSupervisor
from worker.workspace import Workspace

READER = (sys.executable, str(HERE / "fake_reader.py"))


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace(tmp_path / "work")
    yield made
    made.close()


def upload(bench: Bench, content: bytes) -> str:
    digest = bench.service.blobs.put_bytes("default", content).digest
    new = NewModel(digest, {"preset": "snntorch"}, repair=True)
    return str(create_upload(bench.tenant, new, None, lambda view: {"id": view.id}).body["id"])


def check(bench: Bench, workspace: Workspace, content: bytes) -> UploadView:
    identity = upload(bench, content)
    supervisor = IntakeSupervisor(bench.service, workspace, threading.Event(), READER)
    claim = supervisor.claim()
    assert claim is not None
    supervisor.run(claim)
    assert supervisor.claim() is None
    assert [path.name for path in workspace.path.iterdir()] == ["lock"]
    return get_upload(bench.tenant, "model", identity)


def test_a_sound_upload_is_kept_in_canonical_form(bench: Bench, workspace: Workspace) -> None:
    view = check(bench, workspace, b"fine")
    assert view.status == "ready"
    assert view.summary == {"kind": "model", "dynamics": {"preset": "snntorch"}, "repair": True}
    assert view.canonical is not None
    assert bench.service.blobs.read("default", view.canonical) == b"canonical fine"


@pytest.mark.parametrize(
    ("content", "code", "detail"),
    [
        (b"refuse", "not_nir", "expected a NIR file"),
        (b"crash", "unreadable", "signal SIGSEGV"),
        (b"silent", "unreadable", "status 3"),
        (b"babble", "unreadable", "status 0"),
    ],
)
def test_a_refused_upload_leaves_nothing(
    bench: Bench, workspace: Workspace, content: bytes, code: str, detail: str
) -> None:
    view = check(bench, workspace, content)
    assert view.status == "rejected"
    assert view.problem is not None
    assert view.problem["code"] == code
    assert detail in view.problem["detail"]
    assert not bench.service.blobs.exists("default", view.blob)


def test_a_check_that_takes_too_long_is_ended(make_bench: Callable[..., Bench], workspace: Workspace) -> None:
    view = check(make_bench(intake_s=1.0), workspace, b"hang")
    assert view.problem is not None
    assert view.problem["code"] == "check_timeout"


def test_a_stopped_worker_gives_the_upload_back(bench: Bench, workspace: Workspace) -> None:
    identity = upload(bench, b"hang")
    stopping = threading.Event()
    supervisor = IntakeSupervisor(bench.service, workspace, stopping, READER)
    claim = supervisor.claim()
    assert claim is not None
    stopping.set()
    supervisor.run(claim)
    assert get_upload(bench.tenant, "model", identity).status == "checking"
    assert supervisor.claim() is not None


def test_a_lost_claim_records_nothing(bench: Bench, workspace: Workspace) -> None:
    upload(bench, b"hang")
    supervisor = IntakeSupervisor(bench.service, workspace, threading.Event(), READER)
    claim = supervisor.claim()
    assert claim is not None
    runner = threading.Thread(target=supervisor.run, args=(claim,))
    runner.start()
    time.sleep(0.3)
    with bench.service.database.write() as session:
        session.connection().exec_driver_sql("UPDATE models SET lease_until = '2000-01-01 00:00:00.000000'")
    sweep(bench.service.database, max_attempts=3)
    runner.join(10)
    assert not runner.is_alive()
    assert get_upload(bench.tenant, "model", claim.id).status == "checking"
    assert supervisor.claim() is not None
