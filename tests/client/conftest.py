"""A service made of a few dictionaries, behind httpx.MockTransport."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from spikebit.client import Client
from spikebit.commands import common
from spikebit.endpoint import Endpoint

Answer = Callable[[httpx.Request], httpx.Response]

REPORT: dict[str, Any] = {
    "network": {"weight_layers": [["fc1", 100], ["fc2", 20]]},
    "sections": [
        {
            "kind": "evaluate",
            "of": "network",
            "accuracy": {"value": 0.95, "correct": 95, "samples": 100, "interval": {"low": 0.89, "high": 0.98}},
            "agreement": None,
            "layers": [{"layer": "lif1", "neurons": 30, "firing_rate": 0.125, "dead": 2, "saturated": 0}],
            "operations": [{"connection": "fc1", "source": "input", "target": "lif1", "per_sample": 4321.0}],
            "operations_per_sample": 4321.0,
        },
        {
            "kind": "sensitivity",
            "statement": "The prediction holds.",
            "layers": [
                {
                    "layer": "fc1",
                    "trace": 3.5,
                    "standard_error": 0.1,
                    "converged": True,
                    "widths": [{"bits": 4, "predicted": 0.01, "measured": 0.02}],
                }
            ],
        },
        {
            "kind": "integerize",
            "program_digest": "ab" * 32,
            "program_bytes": 60,
            "float_bytes": 480,
            "reduction": 0.875,
            "mean_weight_bits": 4.0,
            "mismatched_spikes": 0,
            "compared_spikes": 1000,
            "layers": [{"layer": "fc1", "bits": 4, "bytes": 50}, {"layer": "fc2", "bits": 4, "bytes": 10}],
        },
        {"kind": "evaluate", "of": "program", "accuracy": {"value": 0.94, "correct": 94, "samples": 100}},
    ],
    "comparison": {"drop_points": 1.0, "drop_interval": {"low": -1.0, "high": 3.0}},
    "gates": [{"gate": "max_accuracy_drop_points", "bound": 2.0, "value": 1.0, "passed": True}],
    "notes": ["a note"],
}


class FakeService:
    """Answers like the real one; a test changes ``job``, ``report``, ``upload`` or puts an answer into ``script``."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.nir = b"nir"
        self.requests: list[httpx.Request] = []
        self.bodies: dict[str, Any] = {}
        self.script: dict[tuple[str, str], list[Answer]] = {}
        self.upload: dict[str, Any] = {"status": "ready", "problem": None}
        self.job: dict[str, Any] = {"status": "succeeded", "verdict": "pass", "problem": None}
        self.report = json.loads(json.dumps(REPORT))
        self.files = {
            "report-json": ("report.json", b"{}"),
            "report-html": ("report.html", b"<p>"),
            "report-md": ("report.md", b"# r"),
            "plan": ("plan.json", b"{}"),
            "program-payload": ("../../escape", b"\x00\x01"),
            "unknown-role": ("x", b"x"),
            "export-lava": ("exports/lava/network.net", b"lava"),
            "export-evil": ("exports/evil/../../.profile", b"evil"),
        }

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        path = request.url.path
        waiting = self.script.get((request.method, path))
        if waiting:
            return waiting.pop(0)(request)
        head, _, rest = path.removeprefix("/v1/").partition("/")
        handler = getattr(self, f"_{head}")
        answer: httpx.Response = handler(request, rest)
        return answer

    def paths(self, method: str) -> list[str]:
        return [request.url.path for request in self.requests if request.method == method]

    def _blobs(self, request: httpx.Request, digest: str) -> httpx.Response:
        if request.method == "HEAD":
            return httpx.Response(200 if digest in self.blobs else 404)
        assert f"sha256:{hashlib.sha256(request.content).hexdigest()}" == digest
        assert int(request.headers["Content-Length"]) == len(request.content)
        self.blobs[digest] = request.content
        return httpx.Response(201, json={"digest": digest, "size": len(request.content)})

    def _record(self, noun: str, request: httpx.Request, rest: str) -> httpx.Response:
        record = {"id": f"{noun[:3]}_1", "name": "n", "summary": {}, **self.upload}
        if request.method == "DELETE":
            return httpx.Response(204)
        if request.method == "POST":
            self.bodies[noun] = json.loads(request.content)
            return httpx.Response(202, json=record | {"status": "checking", "problem": None})
        if not rest:
            return httpx.Response(200, json={"items": [record], "next_cursor": "c2"})
        return httpx.Response(200, json=record)

    def _models(self, request: httpx.Request, rest: str) -> httpx.Response:
        return self._record("models", request, rest)

    def _exports(self, request: httpx.Request, rest: str) -> httpx.Response:
        if rest.endswith("/content"):
            return httpx.Response(200, content=self.nir)
        answer = self._record("exports", request, rest)
        record = answer.json() | {"digest": "sha256:" + hashlib.sha256(self.nir).hexdigest()}
        record["summary"] = {"snippet": "def load(path): ...\n", "needs_snippet": {}}
        return httpx.Response(answer.status_code, json=record)

    def _datasets(self, request: httpx.Request, rest: str) -> httpx.Response:
        return self._record("datasets", request, rest)

    def _jobs(self, request: httpx.Request, rest: str) -> httpx.Response:
        record = {"id": "job_1", "label": "l", "progress": None, **self.job}
        job_id, _, part = rest.partition("/")
        if request.method == "DELETE":
            return httpx.Response(204)
        if request.method == "POST" and part == "cancel":
            return httpx.Response(202, json=record | {"status": "cancelling"})
        if request.method == "POST":
            self.bodies["jobs"] = json.loads(request.content)
            if request.url.params.get("dry_run"):
                spec = {"steps": [{"kind": "evaluate"}]}
                return httpx.Response(200, json={"valid": True, "spec": spec, "estimate": {"seconds": 3}})
            return httpx.Response(202, json=record | {"status": "queued", "verdict": None, "problem": None})
        if part == "report":
            accept = request.headers["Accept"]
            return httpx.Response(200, json=self.report) if "json" in accept else httpx.Response(200, text="# r\n")
        if part == "artifacts":
            items = [
                {"id": role, "role": role, "path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                for role, (path, data) in self.files.items()
            ]
            return httpx.Response(200, json={"items": items})
        if part == "logs":
            return httpx.Response(200, text="line\n")
        if part == "events":
            return httpx.Response(200, json={"items": [{"id": 1}]})
        return httpx.Response(200, json=record if job_id else {"items": [record], "next_cursor": None})

    def _artifacts(self, request: httpx.Request, rest: str) -> httpx.Response:
        return httpx.Response(200, content=self.files[rest.partition("/")[0]][1])


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def client(service: FakeService) -> Iterator[Client]:
    endpoint = Endpoint("http://service.test", "secret", "a test")
    transport = httpx.MockTransport(service)
    with Client(endpoint, transport=transport, sleep=lambda seconds: None) as connected:
        yield connected


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "net.nir").write_bytes(b"nir")
    (tmp_path / "data.npz").write_bytes(b"npz" * 1000)
    return str(tmp_path / "net.nir"), str(tmp_path / "data.npz")


@pytest.fixture
def run(client: Client, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a command line against the fake service."""
    from contextlib import contextmanager

    from spikebit.cli import app

    @contextmanager
    def connect() -> Iterator[Client]:
        yield client

    monkeypatch.setattr(common, "connect", connect)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))
