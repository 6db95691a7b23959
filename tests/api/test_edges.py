from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event, text

from api.app import create_app
from api.problems import MEDIA_TYPE
from jobs.database import Database
from jobs.settings import Settings
from tests.api.conftest import Api, TestClient


def test_every_v1_route_wants_a_key(api: Api) -> None:
    paths = api.http.get("/openapi.json").json()["paths"]
    del api.http.headers["Authorization"]
    for path, methods in paths.items():
        if not path.startswith("/v1/"):
            continue
        for method in methods:
            answer = api.http.request(method, path.replace("{digest}", "sha256:" + "0" * 64), json={})
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"].startswith("Bearer")
    for wrong in ("Bearer spk_nope", "Basic dTpw", "Bearer"):
        assert api.http.get("/v1/jobs", headers={"Authorization": wrong}).json()["code"] == "unauthorized"


def test_request_ids_are_echoed(api: Api) -> None:
    answer = api.http.get("/v1/nope", headers={"X-Request-Id": "ci-7"})
    assert answer.headers["x-request-id"] == "ci-7"
    assert answer.json()["request_id"] == "ci-7"
    made = api.http.get("/v1/nope", headers={"X-Request-Id": "a b\t"})
    assert made.headers["x-request-id"].startswith("req_")
    assert made.json()["request_id"] == made.headers["x-request-id"]


def test_every_problem_is_a_problem_document(api: Api) -> None:
    cases = [
        (api.http.get("/v1/nope"), 404, "not_found"),
        (api.http.delete("/v1/jobs"), 405, "method_not_allowed"),
        (api.http.post("/v1/jobs", content=b"{", headers={"Content-Type": "application/json"}), 400, "invalid_json"),
        (api.http.post("/v1/jobs", data={"a": "b"}), 415, "unsupported_media_type"),
        (api.http.post("/v1/jobs", json={"x": "y" * (70 << 10)}), 413, "body_too_large"),
        (api.http.post("/v1/jobs", json=[1]), 422, "validation_failed"),
        (api.http.get("/v1/jobs/job_none"), 404, "not_found"),
        (api.http.get("/v1/artifacts/art_none/content"), 404, "not_found"),
    ]
    for answer, status, code in cases:
        document = answer.json()
        assert (answer.status_code, document["code"], document["status"]) == (status, code, status)
        assert answer.headers["content-type"] == MEDIA_TYPE
        assert document["type"] == f"urn:spikebit:problem:{code}"
        assert document["detail"]
        assert document["title"]


def test_json_without_a_length_is_counted(api: Api) -> None:
    def parts() -> Iterator[bytes]:
        yield b'{"x": "'
        for _ in range(10):
            yield b"y" * 10_000
        yield b'"}'

    answer = api.http.post("/v1/jobs", content=parts(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_unexpected_errors_tell_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("api.routes.jobs.list_jobs", broken)
    answer = api.http.get("/v1/jobs")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_health(api: Api) -> None:
    del api.http.headers["Authorization"]
    assert api.http.get("/livez").json()["status"] == "ok"
    ready = api.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert ready.json()["checks"]["doorbell"]["ok"] is False  # a detail, not an error


def break_database(database: Database) -> None:
    """Tables vanish on SQLite; on PostgreSQL nobody listens any more."""
    if database.is_sqlite:
        with database.write() as session:
            session.execute(text("DROP TABLE alembic_version"))
            session.execute(text("DROP TABLE jobs"))
        return

    @event.listens_for(database.engine, "do_connect")
    def elsewhere(_: Any, __: Any, ___: Any, parameters: dict[str, Any]) -> None:
        parameters["port"] = 1

    database.engine.dispose()


def test_a_broken_database_is_503(api: Api) -> None:
    break_database(api.service.database)
    ready = api.http.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["database"]["ok"]) == (503, False)
    answer = api.http.get("/v1/jobs")
    assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
    assert answer.headers["retry-after"] == "2"


def test_catalogues(api: Api) -> None:
    recipes = api.http.get("/v1/recipes").json()
    assert {item["name"] for item in recipes["items"]} >= {"hessian-mixed", "sensitivity", "evaluate"}
    assert recipes["schema"]["properties"]["recipe"]
    steps = api.http.get("/v1/steps").json()["items"]
    assert {step["kind"] for step in steps} >= {"evaluate", "finetune"}
    assert all(step["schema"]["properties"]["kind"] for step in steps)
    dynamics = api.http.get("/v1/dynamics").json()
    assert {item["preset"] for item in dynamics["items"]} >= {"nir-paper", "sinabs"}
    assert dynamics["schema"]["properties"]["dt_s"]


def test_openapi_shows_problems_and_the_key(api: Api) -> None:
    document = api.http.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert "HTTPValidationError" not in document["components"]["schemas"]
    responses = document["paths"]["/v1/jobs"]["post"]["responses"]
    assert MEDIA_TYPE in responses["4XX"]["content"]


def test_a_bad_bootstrap_key_stops_the_start(settings: Settings) -> None:
    assert settings.bootstrap_key_file is not None
    settings.bootstrap_key_file.write_text("secret")
    with pytest.raises(ValueError, match="spk_"), TestClient(create_app(settings)):
        pass
