from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from jobs.store import Problem
from tests.api.conftest import MODEL_SUMMARY, Api


def test_a_model_is_checked_in_the_background(api: Api) -> None:
    blob = api.put(b"nir")
    body = {"blob": blob, "name": "braille", "dynamics": {"preset": "sinabs", "set": {"dt_s": 0.001}}}
    answer = api.http.post("/v1/models", json=body)
    record = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/models/{record['id']}"
    assert (record["status"], record["dynamics"]["dt_s"], record["digest"]) == ("checking", 0.001, None)
    assert api.http.post("/v1/models", json=body).json() == record
    api.check(MODEL_SUMMARY)
    ready = api.http.get(answer.headers["location"]).json()
    assert (ready["status"], ready["summary"]) == ("ready", MODEL_SUMMARY)
    assert api.http.get("/v1/models").json() == {"items": [ready], "next_cursor": None}
    assert api.http.delete(answer.headers["location"]).status_code == 204
    assert api.http.get(answer.headers["location"]).json()["code"] == "not_found"


def test_prefer_wait_answers_when_the_check_ends(api: Api) -> None:
    blob = api.put(b"npz")
    timer = threading.Timer(0.3, api.check, args=({"steps": 1},))
    timer.start()
    began = time.monotonic()
    answer = api.http.post("/v1/datasets", json={"blob": blob}, headers={"Prefer": "wait=20"})
    assert answer.json()["status"] == "ready"
    assert 0.2 < time.monotonic() - began < 10
    timer.join()


def test_prefer_wait_ends_with_its_time(api: Api) -> None:
    blob = api.put(b"npz")
    answer = api.http.post("/v1/datasets", json={"blob": blob}, headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["status"]) == (202, "checking")


def test_a_rejected_upload_keeps_its_problem_and_no_bytes(api: Api) -> None:
    blob = api.put(b"not a nir file")
    body = {"blob": blob, "dynamics": {"preset": "nir-paper"}}
    identity = api.http.post("/v1/models", json=body).json()["id"]
    api.check(None, Problem("not_nir", "expected HDF5, found text", None))
    record = api.http.get(f"/v1/models/{identity}").json()
    assert (record["status"], record["problem"]["code"]) == ("rejected", "not_nir")
    assert api.http.head(f"/v1/blobs/{blob}").status_code == 404
    assert api.http.post("/v1/models", json=body).json() == record  # the answer is known without the bytes


DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        ({"blob": DIGEST, "dynamics": {"preset": "nir-paper"}}, 404, "not_found", None),
        ({"blob": DIGEST, "dynamics": {"preset": "nope"}}, 422, "unknown_preset", "/dynamics/preset"),
        (
            {"blob": DIGEST, "dynamics": {"preset": "nir-paper", "set": {"dt_s": -1}}},
            422,
            "invalid_dynamics",
            "/dynamics/set/dt_s",
        ),
        (
            {"blob": DIGEST, "dynamics": {"preset": "nir-paper", "set": {"reset_order": "after_leak"}}},
            422,
            "invalid_dynamics",
            "/dynamics/set",
        ),
        ({"blob": "sha256:xyz", "dynamics": {"preset": "nir-paper"}}, 422, "validation_failed", "/blob"),
        ({"blob": DIGEST}, 422, "validation_failed", "/dynamics"),
        (
            {"blob": DIGEST, "dynamics": {"preset": "lava"}, "colour": 1},
            422,
            "validation_failed",
            "/colour",
        ),
    ],
)
def test_bad_models(api: Api, body: dict[str, Any], status: int, code: str, pointer: str | None) -> None:
    answer = api.http.post("/v1/models", json=body)
    assert (answer.status_code, answer.json()["code"], answer.json().get("pointer")) == (status, code, pointer)


def test_idempotency_key_on_models(api: Api) -> None:
    blob = api.put(b"nir")
    body = {"blob": blob, "dynamics": {"preset": "nir-paper"}}
    headers = {"Idempotency-Key": "k1"}
    first = api.http.post("/v1/models", json=body, headers=headers)
    again = api.http.post("/v1/models", json=body, headers=headers)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    other = api.http.post("/v1/models", json=body | {"name": "x"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    bad = api.http.post("/v1/models", json=body, headers={"Idempotency-Key": "a b"})
    assert (bad.status_code, bad.json()["code"]) == (400, "invalid_idempotency_key")


def test_in_use(api: Api) -> None:
    job = api.job()
    for place in (f"/v1/models/{job['model']}", f"/v1/datasets/{job['dataset']}"):
        answer = api.http.delete(place)
        assert (answer.status_code, answer.json()["code"]) == (409, "in_use")
    api.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert api.http.delete(f"/v1/models/{job['model']}").status_code == 204
    assert api.http.delete(f"/v1/datasets/{job['dataset']}").status_code == 204


def test_paging(api: Api) -> None:
    made = [api.model(data=bytes([i])) for i in range(5)]
    seen: list[str] = []
    cursor = None
    while True:
        page = api.http.get("/v1/models", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]
    assert api.http.get("/v1/models", params={"cursor": "bm9wZQ=="}).json()["code"] == "invalid_cursor"
    assert api.http.get("/v1/models", params={"limit": 1000}).json()["code"] == "validation_failed"


def test_another_tenant_gets_404(api: Api, stranger: dict[str, str]) -> None:
    model, data = api.model(), api.dataset()
    for place in (f"/v1/models/{model}", f"/v1/datasets/{data}"):
        for method in ("GET", "DELETE"):
            answer = api.http.request(method, place, headers=stranger)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    body = {"model": model, "dataset": data, "recipe": "evaluate"}
    assert api.http.post("/v1/jobs", json=body, headers=stranger).status_code == 404
    assert api.http.get("/v1/models", headers=stranger).json()["items"] == []
