"""Retries, idempotency, uploads by digest, and where the service is found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from spikebit.client import Client
from spikebit.endpoint import find_endpoint
from spikebit.errors import Problem, Unreachable, WaitTimeout


def test_a_held_file_is_not_sent_again(client: Client, service: Any, files: tuple[str, str]) -> None:
    seen: list[tuple[int, int]] = []
    first = client.upload(Path(files[1]), lambda done, total: seen.append((done, total)))
    second = client.upload(Path(files[1]))
    assert first == second
    assert len(service.paths("PUT")) == 1
    assert seen[-1] == (3000, 3000)


def test_a_repeated_post_keeps_its_key(client: Client, service: Any) -> None:
    def lose(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("lost", request=request)

    busy = httpx.Response(503, headers={"Retry-After": "1"}, json={"code": "service_unavailable"})
    flight = httpx.Response(409, json={"code": "idempotency_in_flight"})
    service.script[("POST", "/v1/jobs")] = [lose, lambda request: busy, lambda request: flight]
    assert client.submit({"model": "m", "dataset": "d", "recipe": "evaluate"}).status == "queued"
    keys = {request.headers["Idempotency-Key"] for request in service.requests}
    assert len(service.requests) == 4
    assert len(keys) == 1
    client.submit({"model": "m", "dataset": "d", "recipe": "evaluate"})
    assert service.requests[-1].headers["Idempotency-Key"] not in keys


def test_a_lost_upload_starts_again_from_the_file(client: Client, service: Any, files: tuple[str, str]) -> None:
    def lose(request: httpx.Request) -> httpx.Response:
        raise httpx.WriteError("lost", request=request)

    digest = client.upload(Path(files[0]))
    service.blobs.clear()
    service.script[("PUT", f"/v1/blobs/{digest}")] = [lose]
    assert client.upload(Path(files[0])) == digest
    assert service.blobs[digest] == b"nir"


def test_an_unknown_key_is_told_even_where_the_answer_has_no_body(
    client: Client, service: Any, files: tuple[str, str]
) -> None:
    service._blobs = lambda request, digest: httpx.Response(401)
    with pytest.raises(Problem, match="API key") as caught:
        client.upload(Path(files[1]))
    assert (caught.value.code, caught.value.exit_code) == ("unauthorized", 3)


def test_a_service_that_stays_away_is_a_problem(client: Client, service: Any) -> None:
    service.script[("GET", "/v1/jobs/j")] = [lambda request: httpx.Response(503, text="down")] * 9
    with pytest.raises(Problem, match="down"):
        client.show("jobs", "j")
    assert len(service.requests) == 6


def test_the_key_is_sent_and_never_shown(client: Client, service: Any) -> None:
    client.show("jobs", "j")
    assert service.requests[0].headers["Authorization"] == "Bearer secret"
    assert "secret" not in repr(client.endpoint)


def test_ids_cannot_leave_their_path(client: Client, service: Any) -> None:
    service.script[("GET", "/v1/jobs/../keys")] = [lambda request: httpx.Response(404, json={"code": "not_found"})]
    with pytest.raises(Problem):
        client.show("jobs", "../keys")
    assert service.requests[0].url.raw_path == b"/v1/jobs/..%2Fkeys"


def test_waiting_uses_long_polls_and_reports_changes(client: Client, service: Any) -> None:
    running = {"id": "job_1", "status": "running", "progress": {"stage": "finetune", "done": 1, "total": 9}}
    service.script[("GET", "/v1/jobs/job_1")] = [lambda request: httpx.Response(200, json=running)]
    stages = []
    job = client.wait_job("job_1", on_change=lambda job: stages.append(job.progress and job.progress.stage))
    assert job.status == "succeeded"
    assert stages == ["finetune", None]
    assert [request.headers.get("Prefer") for request in service.requests] == [None, "wait=20"]


def test_waiting_ends_at_the_deadline(client: Client, service: Any) -> None:
    service.upload = {"status": "checking", "problem": None}
    with pytest.raises(WaitTimeout, match="mod_1"):
        client.wait_upload("models", "mod_1", deadline=0.0)


def state(folder: Path, pid: int) -> Path:
    (folder / "endpoint.json").write_text(json.dumps({"url": "http://127.0.0.1:1/", "pid": pid}))
    (folder / "key").write_text("local-key\n")
    return folder


def test_a_running_local_service_is_found(tmp_path: Path) -> None:
    environ = {"SPIKEBIT_DATA": str(state(tmp_path, os.getpid())), "SPIKEBIT_URL": "http://far", "HOME": "/x"}
    found = find_endpoint(environ)
    assert (found.url, found.key) == ("http://127.0.0.1:1", "local-key")
    assert find_endpoint(environ, url="http://given", key="k").url == "http://given"


def test_a_dead_local_service_is_passed_over(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    folder = str(state(tmp_path, process.pid))
    found = find_endpoint({"SPIKEBIT_DATA": folder, "SPIKEBIT_URL": "http://far/", "SPIKEBIT_API_KEY": "far-key"})
    assert (found.url, found.key) == ("http://far", "far-key")
    with pytest.raises(Unreachable, match="SPIKEBIT_URL is not set"):
        find_endpoint({"SPIKEBIT_DATA": folder})


def test_importing_the_package_imports_nothing_else() -> None:
    code = (
        "import sys; before = set(sys.modules); import spikebit, spikebit.runtime; "
        "new = set(sys.modules) - before; "
        "bad = new & {'httpx', 'typer', 'rich', 'numpy', 'torch', 'runtime'}; sys.exit(', '.join(bad) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_runner_is_the_one_copy() -> None:
    import runtime
    from spikebit import runtime as offered

    assert offered.read_program is runtime.read_program
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = offered.nonsense
