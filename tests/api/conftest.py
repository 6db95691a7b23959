"""The API in this process, on SQLite and on PostgreSQL; no worker, so that tests play its part."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.app import create_app
from api.context import Service
from jobs.settings import Settings
from jobs.store import (
    JobClaim,
    NewArtifact,
    Problem,
    Tenant,
    add_key,
    claim_intake,
    claim_job,
    generate_key,
    intake_ready,
    intake_rejected,
    publish,
)
from tests.services import postgres_server

__all__ = ["postgres_server"]

with warnings.catch_warnings():  # starlette would rather have httpx2, which the client does not use
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

MODEL_SUMMARY = {
    "nodes": 5,
    "parameters": 8 * 4 + 4 * 3,
    "float_bytes": 176,
    "input_shape": [8],
    "outputs": 3,
    "weight_layers": [["fc1", 32], ["fc2", 12]],
    "neuron_layers": [["lif1", 4], ["lif2", 3]],
    "delayed_edges": [],
}
DATA_SUMMARY = {
    "splits": {"train": 100, "val": 0, "test": 40},
    "steps": 20,
    "sample_shape": [8],
    "classes": ["a", "b", "c"],
    "value_range": [0, 1],
    "dtype": "uint8",
}
PROGRAM = bytes(range(256)) * 8192  # 2 MiB: streamed in several chunks


@dataclass
class Api:
    """The client with a key, and the worker's part."""

    http: TestClient
    service: Service
    tenant: Tenant

    def put(self, data: bytes) -> str:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        assert self.http.put(f"/v1/blobs/{digest}", content=data).status_code in (200, 201)
        return digest

    def model(self, summary: dict[str, Any] | None = None, data: bytes = b"nir") -> str:
        body = {"blob": self.put(data), "dynamics": {"preset": "nir-paper"}}
        identity: str = self.http.post("/v1/models", json=body).json()["id"]
        self.check(summary or MODEL_SUMMARY)
        return identity

    def dataset(self, summary: dict[str, Any] | None = None, data: bytes = b"npz") -> str:
        identity: str = self.http.post("/v1/datasets", json={"blob": self.put(data)}).json()["id"]
        self.check(summary or DATA_SUMMARY)
        return identity

    def check(self, summary: dict[str, Any] | None, problem: Problem | None = None) -> None:
        claim = claim_intake(self.service.database, "w", 60)
        if claim is None:
            return
        if problem is not None:
            assert intake_rejected(self.service.database, claim, problem)
            self.service.blobs.drop(claim.tenant_id, claim.blob)
            return
        canonical = self.service.blobs.put_bytes(claim.tenant_id, b"canonical " + claim.blob.encode())
        assert intake_ready(self.service.database, claim, canonical.digest, summary or {})

    def job(self, **fields: Any) -> dict[str, Any]:
        body = {"model": self.model(), "dataset": self.dataset(), "recipe": "evaluate"} | fields
        answer = self.http.post("/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text
        record: dict[str, Any] = answer.json()
        return record

    def claim(self) -> JobClaim:
        claim = claim_job(self.service.database, "compute", "worker-1", 60)
        assert claim is not None
        return claim

    def finish(self, claim: JobClaim) -> None:
        files = (
            ("report-json", "report.json", b'{"schema_version": 1}', "application/json"),
            ("report-html", "report.html", b"<!doctype html><p>report", "text/html"),
            ("report-md", "report.md", b"# report", "text/markdown"),
            ("program-payload", "program/payload.bin", PROGRAM, "application/octet-stream"),
        )
        artifacts = []
        for role, path, data, media_type in files:
            blob = self.service.blobs.put_bytes(claim.tenant_id, data)
            artifacts.append(NewArtifact(role, path, blob.digest, blob.size, media_type))
        assert publish(self.service.database, claim, artifacts, "pass") == "published"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str:
    """Empty: SQLite in the data folder."""
    if request.param == "sqlite":
        return ""
    url: str = request.getfixturevalue("postgres_server").new_database()
    return url


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    key = tmp_path / "key"
    key.write_text(generate_key())
    return Settings(
        data=tmp_path / "state",
        database_url=database_url,
        redis_url=None,
        bootstrap_key_file=key,
        max_upload_bytes=8 << 20,
        max_json_bytes=64 << 10,
    )


@pytest.fixture
def api(settings: Settings) -> Iterator[Api]:
    app = create_app(settings)
    with TestClient(app, raise_server_exceptions=False) as http:
        assert settings.bootstrap_key_file is not None
        http.headers["Authorization"] = "Bearer " + settings.bootstrap_key_file.read_text()
        service = app.state.service
        yield Api(http, service, Tenant(service.database, settings.tenant))


@pytest.fixture
def stranger(api: Api) -> dict[str, str]:
    """Headers of another tenant's key."""
    key = generate_key()
    add_key(Tenant(api.service.database, "stranger"), key, "stranger")
    return {"Authorization": f"Bearer {key}"}
