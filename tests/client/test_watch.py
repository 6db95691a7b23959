"""The event stream across lost connections, and the operator's commands."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from spikebit.client import Client
from spikebit.errors import Problem, Unreachable, WaitTimeout
from tests.client.conftest import FakeService

PATH = ("GET", "/v1/jobs/job_1/events")


def message(seq: int, kind: str, **data: Any) -> str:
    return f"id: {seq}\nevent: {kind}\ndata: {json.dumps({'seq': seq, 'event': kind, 'data': data})}\n\n"


def answer(text: str) -> Callable[[httpx.Request], httpx.Response]:
    return lambda request: httpx.Response(200, text=text, headers={"Content-Type": "text/event-stream"})


def broken(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


BEGIN = ": still here\n\n" + message(1, "state", status="queued") + message(2, "state", status="running")
REST = (
    message(2, "state", status="running")  # again: it must not be told twice
    + message(3, "progress", stage="finetune", done=1, total=4, step=2, steps=3, eta_s=9.0)
    + message(4, "state", status="succeeded")
    + "id: 4\nevent: end\ndata: {}\n\n"
)


def test_events_come_once_each_across_a_restart_of_the_service(client: Client, service: FakeService) -> None:
    busy = lambda request: httpx.Response(503, json={"code": "service_unavailable"})  # noqa: E731
    service.script[PATH] = [answer(BEGIN), broken, busy, answer(REST)]
    assert [event.seq for event in client.follow("job_1")] == [1, 2, 3, 4]
    asked = [request.headers["Last-Event-ID"] for request in service.requests if request.url.path == PATH[1]]
    assert asked == ["0", "2", "2", "2"]


def test_patience_deadline_and_refusal_end_it(client: Client, service: FakeService) -> None:
    service.script[PATH] = [broken] * 50
    with pytest.raises(Unreachable, match="was away"):
        list(client.follow("job_1", patience_s=-1))
    service.script[PATH] = [answer(BEGIN)] * 3
    with pytest.raises(WaitTimeout):
        list(client.follow("job_1", deadline=time.monotonic() - 1))
    service.script[PATH] = [lambda request: httpx.Response(404, json={"code": "not_found", "detail": "no"})]
    with pytest.raises(Problem, match="no"):
        list(client.follow("job_1"))


def test_the_command_ends_with_the_jobs_exit_code(run: Callable[..., Any], service: FakeService) -> None:
    service.script[PATH] = [answer(BEGIN + REST)]
    done = run("jobs", "watch", "job_1", "--json")
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [line["seq"] for line in lines] == [1, 2, 3, 4]
    service.job["verdict"] = "fail"
    service.script[PATH] = [answer(BEGIN + REST)]
    assert run("jobs", "watch", "job_1").exit_code == 1


def test_operators_commands(run: Callable[..., Any], service: FakeService) -> None:
    key = {"id": "key_1", "tenant": "t", "name": "ci", "scope": "user", "key": "spk_x"}
    empty: dict[str, Any] = {"queue": [{"class": "compute", "status": "queued", "number": 3, "oldest_s": 1}]}
    empty |= {"workers": [], "drains": []}
    told: list[tuple[str, bytes]] = []

    def say(body: Any, status: int = 200) -> Callable[[httpx.Request], httpx.Response]:
        def give(request: httpx.Request) -> httpx.Response:
            told.append((request.url.path, request.content))
            return httpx.Response(status, json=body) if body is not None else httpx.Response(204)

        return give

    service.script = {
        ("POST", "/v1/keys"): [say(key, 201)],
        ("GET", "/v1/keys"): [say({"items": [key]})],
        ("DELETE", "/v1/keys/key_1"): [say(None)],
        ("GET", "/v1/admin/queue"): [say(empty)],
        ("POST", "/v1/admin/jobs/job_1/requeue"): [say({"id": "job_1", "status": "queued"}, 202)],
        ("POST", "/v1/admin/drains"): [say(empty, 202)],
        ("DELETE", "/v1/admin/drains/*"): [say(None)],
    }
    assert run("admin", "keys", "add", "ci", "--tenant", "t", "--days", "1").stdout.strip() == "spk_x"
    assert json.loads(told[-1][1]) == {"name": "ci", "scope": "user", "tenant": "t", "expires_in_s": 86400.0}
    assert "key_1" in run("admin", "keys", "list").stdout
    assert run("admin", "keys", "revoke", "key_1").exit_code == 0
    assert "compute" in run("admin", "queue").stdout
    assert run("admin", "requeue", "job_1").stdout.strip() == "job_1 queued"
    assert run("admin", "drain").exit_code == 0
    assert json.loads(told[-1][1]) == {"scope": "*"}
    assert run("admin", "resume").stdout.strip() == "resumed *"
