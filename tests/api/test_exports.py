"""Exports over HTTP: asked for, made in the background, downloaded, forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.store import Problem, claim_intake
from tests.api.conftest import Api


def ask(api: Api, model: str, **fields: Any) -> Any:
    return api.http.post("/v1/exports", json={"model": model, "framework": "norse", **fields})


def test_an_export_is_made_in_the_background_and_downloaded(api: Api) -> None:
    model = api.model()
    answer = ask(api, model)
    record = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/exports/{record['id']}"
    assert (record["status"], record["model"], record["framework"]) == ("checking", model, "norse")
    assert ask(api, model).json() == record, "the same question is the same record"
    assert ask(api, model, snippet=True).json()["id"] != record["id"]
    early = api.http.get(record["links"]["content"])
    assert (early.status_code, early.json()["code"]) == (409, "export_not_ready")
    api.check({"snippet": "…", "needs_snippet": {}})
    ready = api.http.get(f"/v1/exports/{record['id']}").json()
    assert (ready["status"], ready["summary"]["needs_snippet"]) == ("ready", {})
    content = api.http.get(record["links"]["content"])
    assert content.content.startswith(b"canonical ")
    assert content.headers["etag"] == f'"{ready["digest"].removeprefix("sha256:")}"'
    assert "norse.nir" in content.headers["content-disposition"]
    assert api.http.head(record["links"]["content"]).headers["content-length"] == str(len(content.content))
    assert [item["id"] for item in api.http.get("/v1/exports").json()["items"]][-1] == record["id"]
    assert api.http.delete(f"/v1/exports/{record['id']}").status_code == 204
    assert api.http.get(f"/v1/exports/{record['id']}").status_code == 404


def test_the_worker_is_told_what_to_write(api: Api) -> None:
    model = api.model()
    ask(api, model, framework="snntorch", snippet=True)
    claim = claim_intake(api.service.database, "w", 60)
    assert claim is not None
    assert (claim.kind, claim.framework, claim.snippet) == ("export", "snntorch", True)
    assert claim.blob == api.http.get(f"/v1/models/{model}").json()["digest"]
    assert claim.dynamics is not None
    assert claim.dynamics["dt_s"] == 1e-4


def test_a_refused_export_keeps_the_model(api: Api) -> None:
    model = api.model()
    identity = ask(api, model).json()["id"]
    api.check(None, Problem("needs_snippet", "node 'a': …", "a"))
    record = api.http.get(f"/v1/exports/{identity}").json()
    assert (record["status"], record["problem"]["code"]) == ("rejected", "needs_snippet")
    digest = api.http.get(f"/v1/models/{model}").json()["digest"]
    assert api.http.head(f"/v1/blobs/{digest}").status_code == 200
    assert ask(api, model).json()["status"] == "checking", "asked again: tried again"


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"model": "mdl_none"}, 404, "not_found"),
        ({"framework": "nengo"}, 422, "validation_failed"),
        ({"colour": 1}, 422, "validation_failed"),
    ],
)
def test_bad_requests(api: Api, fields: dict[str, Any], status: int, code: str) -> None:
    answer = api.http.post("/v1/exports", json={"model": api.model(), "framework": "norse"} | fields)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_model_must_be_ready_and_its_dynamics_known(api: Api) -> None:
    body = {"blob": api.put(b"other"), "dynamics": {"preset": "auto"}}
    model = api.http.post("/v1/models", json=body).json()["id"]
    assert ask(api, model).json()["code"] == "model_not_ready"
    api.check({"nodes": 1})
    answer = ask(api, model)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_dynamics")
    rejected = api.http.post("/v1/models", json=body | {"blob": api.put(b"bad")}).json()["id"]
    api.check(None, Problem("not_nir", "no"))
    assert ask(api, rejected).json()["code"] == "model_rejected"
