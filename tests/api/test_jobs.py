from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from api.routes import events
from jobs.store import JobFilter, Page, Problem, cancel_job, fail, list_jobs, log, progress
from tests.api.conftest import DATA_SUMMARY, MODEL_SUMMARY, Api

PLAN = {"weights": {"fc1": {"bits": 4}, "fc2": {"bits": 3}}}


def refused(api: Api, status: int, code: str, pointer: str | None = None, **fields: Any) -> dict[str, Any]:
    body = {"model": api.model(), "dataset": api.dataset(), "recipe": "hessian-mixed"} | fields
    answer = api.http.post("/v1/jobs", json=body)
    document: dict[str, Any] = answer.json()
    assert (answer.status_code, document["code"]) == (status, code), document
    assert pointer is None or document["pointer"] == pointer
    assert answer.headers["content-type"] == "application/problem+json"
    assert list_jobs(api.tenant, Page(1), JobFilter()) == []
    return document


def test_submit(api: Api) -> None:
    body = {"model": api.model(), "dataset": api.dataset(), "recipe": "evaluate", "label": "ci", "seed": 3}
    answer = api.http.post("/v1/jobs", json=body)
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert answer.headers["retry-after"] == "1"
    assert (job["status"], job["verdict"], job["label"], job["attempts"]) == ("queued", None, "ci", [])
    assert job["request"] == body
    assert job["spec"]["steps"] == [{"kind": "evaluate", "of": "network"}]
    assert job["spec"]["seed"] == 3
    assert api.http.get(f"/v1/jobs/{job['id']}").json() == job
    line = api.http.get("/v1/jobs", params={"label": "ci"}).json()["items"][0]
    assert line["id"] == job["id"]
    assert "spec" not in line
    assert api.http.get("/v1/jobs", params={"status": "failed"}).json()["items"] == []


def test_life_of_a_job(api: Api) -> None:
    job = api.job()
    claim = api.claim()
    assert progress(api.service.database, claim, "evaluate", 1, 2, "half", {"accuracy": 0.5})
    assert log(api.service.database, claim, "red \x1b[31m alert", 10)
    running = api.http.get(f"/v1/jobs/{job['id']}").json()
    assert running["status"] == "running"
    assert running["progress"] == {
        "stage": "evaluate",
        "done": 1,
        "total": 2,
        "message": "half",
        "metrics": {"accuracy": 0.5},
    }
    early = api.http.get(f"/v1/jobs/{job['id']}/report")
    assert (early.status_code, early.json()["code"]) == (409, "job_not_terminal")
    assert api.http.delete(f"/v1/jobs/{job['id']}").json()["code"] == "job_not_terminal"
    api.finish(claim)
    done = api.http.get(f"/v1/jobs/{job['id']}").json()
    assert (done["status"], done["verdict"], done["attempts"][0]["outcome"]) == ("succeeded", "pass", "succeeded")
    late = api.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert (late.status_code, late.json()["code"]) == (409, "job_terminal")
    logs = api.http.get(f"/v1/jobs/{job['id']}/logs")
    assert logs.headers["content-type"].startswith("text/plain")
    assert r"red \x1b[31m alert" in logs.text
    as_json = api.http.get(f"/v1/jobs/{job['id']}/logs", headers={"Accept": "application/json"}).json()
    assert as_json["items"][0]["message"] == "red \x1b[31m alert"
    assert api.http.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert api.http.get(f"/v1/jobs/{job['id']}").status_code == 404


def test_cancel(api: Api) -> None:
    queued, running = api.job(), api.job()
    api.claim()
    second = api.http.post(f"/v1/jobs/{running['id']}/cancel")
    assert (second.status_code, second.json()["status"]) == (202, "cancelled")
    first = api.http.post(f"/v1/jobs/{queued['id']}/cancel")
    assert (first.status_code, first.json()["status"]) == (202, "cancelling")


def test_a_failed_job_shows_its_problem(api: Api) -> None:
    job = api.job(expect=0.9)
    fail(api.service.database, api.claim(), Problem("expectation_missed", "expected 0.9, found 0.5", "/expect"))
    record = api.http.get(f"/v1/jobs/{job['id']}").json()
    assert (record["status"], record["problem"]["code"]) == ("failed", "expectation_missed")
    assert api.http.get(f"/v1/jobs/{job['id']}/report").status_code == 404


def test_prefer_wait_answers_at_the_next_change(api: Api) -> None:
    job = api.job()
    timer = threading.Timer(0.3, lambda: cancel_job(api.tenant, job["id"]))
    timer.start()
    began = time.monotonic()
    record = api.http.get(f"/v1/jobs/{job['id']}", headers={"Prefer": "respond-async, wait=20"}).json()
    assert record["status"] == "cancelled"
    assert 0.2 < time.monotonic() - began < 10
    began = time.monotonic()
    api.http.get(f"/v1/jobs/{job['id']}", headers={"Prefer": "wait=20"})
    assert time.monotonic() - began < 2  # it has ended: nothing to wait for
    timer.join()


def test_idempotent_submit(api: Api) -> None:
    body = {"model": api.model(), "dataset": api.dataset(), "recipe": "evaluate"}
    headers = {"Idempotency-Key": "0b0c4a5e"}
    first = api.http.post("/v1/jobs", json=body, headers=headers)
    again = api.http.post("/v1/jobs", json=body, headers=headers)
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    other = api.http.post("/v1/jobs", json=body | {"seed": 1}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len(api.http.get("/v1/jobs").json()["items"]) == 1


def test_dry_run_queues_nothing(api: Api) -> None:
    body = {"model": api.model(), "dataset": api.dataset(), "recipe": "hessian-mixed"}
    answer = api.http.post("/v1/jobs", params={"dry_run": "true"}, json=body)
    document = answer.json()
    assert (answer.status_code, document["valid"]) == (200, True)
    assert document["estimate"]["basis"] == "estimated"
    assert document["estimate"]["seconds"] > 1
    assert document["estimate"]["memory_bytes"] > 1 << 20
    assert document["estimate"]["program_bytes"] == 44 * 4 // 8 + 16 * 7
    assert document["spec"]["steps"][0]["kind"] == "evaluate"
    assert api.http.get("/v1/jobs").json()["items"] == []
    planned = api.http.post("/v1/jobs", params={"dry_run": "true"}, json=body | {"plan": PLAN}).json()
    assert planned["estimate"]["program_bytes"] == -(-(32 * 4 + 12 * 3) // 8) + 16 * 7
    bad = api.http.post("/v1/jobs", params={"dry_run": "true"}, json=body | {"recipe": "x"})
    assert (bad.status_code, bad.json()["code"]) == (422, "unknown_recipe")


def test_unknown_recipe(api: Api) -> None:
    assert "hessian-mixed" in refused(api, 422, "unknown_recipe", "/recipe", recipe="nope")["detail"]


def test_invalid_steps(api: Api) -> None:
    refused(api, 422, "invalid_step", "/steps/0", recipe=None, steps=[{"kind": "nope"}])
    refused(api, 422, "invalid_step", None, recipe=None, steps=[{"kind": "finetune", "epochs": -1}])
    refused(api, 422, "invalid_step", "/steps/0", recipe=None, steps=[{"kind": "integerize"}])
    refused(api, 422, "invalid_step", "/options/finetune/epochs", options={"finetune": {"epochs": -1}})
    refused(api, 422, "invalid_step", "/options", options={"nope": {}})
    for step in ("sensitivity", "allocate"):
        for widths, where in (([], ""), ([0, 2], "/0"), ([2, 17], "/1")):
            refused(api, 422, "invalid_step", f"/options/{step}/widths{where}", options={step: {"widths": widths}})


def test_recipe_and_steps_exclude_each_other(api: Api) -> None:
    refused(api, 422, "validation_failed", None, steps=[{"kind": "evaluate"}])


def test_contradictory_gates(api: Api) -> None:
    pointer = "/gates/max_program_bytes"
    refused(api, 422, "contradictory_gates", pointer, recipe="evaluate", gates={"max_program_bytes": 10})
    refused(api, 422, "contradictory_gates", "/mean_weight_bits", mean_weight_bits=1.5)


def test_invalid_plans(api: Api) -> None:
    unknown = {"weights": PLAN["weights"] | {"fc9": {"bits": 4}}}
    assert "fc9" in refused(api, 422, "invalid_plan", "/plan/weights/fc9", plan=unknown)["detail"]
    missing = {"weights": {"fc1": {"bits": 4}}}
    assert "fc2" in refused(api, 422, "invalid_plan", "/plan/weights", plan=missing)["detail"]
    refused(api, 422, "invalid_plan", None, plan={"weights": {"fc1": {"bits": 33}, "fc2": {"bits": 4}}})
    narrow = PLAN | {"neurons": {"lif1": {"state_bits": 6, "fraction_bits": 6}}}
    refused(api, 422, "invalid_plan", "/plan/neurons/lif1/fraction_bits", plan=narrow)


def test_inputs_must_be_ready(api: Api) -> None:
    model, data = api.model(), api.dataset()
    checking = api.http.post("/v1/datasets", json={"blob": api.put(b"new")}).json()["id"]
    body = {"model": model, "dataset": checking, "recipe": "evaluate"}
    answer = api.http.post("/v1/jobs", json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "dataset_not_ready")
    api.check(None, Problem("not_npz", "expected a zip"))
    assert api.http.post("/v1/jobs", json=body).json()["code"] == "dataset_rejected"
    new = {"blob": api.put(b"new model"), "dynamics": {"preset": "lava"}}
    body = {"model": api.http.post("/v1/models", json=new).json()["id"], "dataset": data, "recipe": "evaluate"}
    answer = api.http.post("/v1/jobs", json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "model_not_ready")
    api.check(None, Problem("not_nir", "expected HDF5"))
    answer = api.http.post("/v1/jobs", json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "model_rejected")
    body = {"model": "mdl_none", "dataset": data, "recipe": "evaluate"}
    assert api.http.post("/v1/jobs", json=body).json()["code"] == "not_found"


@pytest.mark.parametrize(
    ("change", "recipe", "code", "said"),
    [
        ({"sample_shape": [9]}, "evaluate", "sample_shape_mismatch", "shape 8, the dataset's samples have 9"),
        ({"sample_shape": [2, 4]}, "evaluate", "sample_shape_mismatch", "2×4"),
        ({"classes": ["a", "b", "c", "d"]}, "evaluate", "labels_out_of_range", "3 outputs"),
        ({"splits": {"train": 0, "val": 0, "test": 9}}, "sensitivity", "only_test_split", "sensitivity"),
        ({"labelled": False}, "hessian-mixed", "unlabelled", "finetune need labels"),
    ],
)
def test_inputs_must_fit(api: Api, change: dict[str, Any], recipe: str, code: str, said: str) -> None:
    data = api.dataset(DATA_SUMMARY | change, data=b"other")
    assert said in refused(api, 422, code, "/dataset", dataset=data, recipe=recipe)["detail"]


def test_a_deleted_model_is_missed_by_the_next_submit(api: Api) -> None:
    body = {"model": api.model(), "dataset": api.dataset(), "recipe": "evaluate"}
    job = api.http.post("/v1/jobs", json=body).json()  # the service remembers both from now on
    api.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert api.http.delete(f"/v1/models/{body['model']}").status_code == 204
    for query in ("", "?dry_run=true"):
        answer = api.http.post(f"/v1/jobs{query}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_test_split_alone_can_be_evaluated(api: Api) -> None:
    data = api.dataset(DATA_SUMMARY | {"splits": {"train": 0, "val": 0, "test": 9}}, data=b"other")
    assert api.job(dataset=data, recipe="evaluate")["status"] == "queued"


def test_expected_counts_must_be_held(api: Api) -> None:
    refused(api, 404, "not_found", expected_counts="sha256:" + "1" * 64)
    assert api.job(expected_counts=api.put(b"counts"))["status"] == "queued"
    assert MODEL_SUMMARY["outputs"] == 3


def test_event_pages(api: Api) -> None:
    job = api.job()
    api.finish(api.claim())
    page = api.http.get(f"/v1/jobs/{job['id']}/events", params={"limit": 2}).json()
    assert [item["data"]["status"] for item in page["items"]] == ["queued", "running"]
    rest = api.http.get(f"/v1/jobs/{job['id']}/events", params={"cursor": page["next_cursor"]}).json()
    assert [item["seq"] for item in rest["items"]] == [3]
    assert rest["next_cursor"] is None


def test_event_stream_ends_with_the_job_and_resumes(api: Api) -> None:
    job = api.job()
    claim = api.claim()
    timer = threading.Timer(0.4, api.finish, args=(claim,))
    timer.start()
    headers = {"Accept": "text/event-stream"}
    whole = api.http.get(f"/v1/jobs/{job['id']}/events", headers=headers)
    timer.join()
    assert whole.headers["content-type"].startswith("text/event-stream")
    assert [line for line in whole.text.splitlines() if line.startswith("id:")] == ["id: 1", "id: 2", "id: 3", "id: 3"]
    assert whole.text.rstrip().endswith("event: end\ndata: {}")
    resumed = api.http.get(f"/v1/jobs/{job['id']}/events", headers=headers | {"Last-Event-ID": "2"})
    assert "id: 2\n" not in resumed.text
    assert "id: 3\n" in resumed.text
    assert api.service.streams == {}
    assert api.http.get("/v1/jobs/job_none/events", headers=headers).status_code == 404


def test_a_silent_stream_beats(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment now and then, so that proxies and clients know that the connection lives."""
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(events, "SLICE_S", 0.1)
    job, claim = api.job(), api.claim()
    timer = threading.Timer(1.0, api.finish, args=(claim,))
    timer.start()
    text = api.http.get(f"/v1/jobs/{job['id']}/events", headers={"Accept": "text/event-stream"}).text
    timer.join()
    before, _, after = text.partition("id: 3")
    assert before.count(": still here\n\n") >= 2
    assert "still here" not in after.partition("event: end")[2]


def test_auto_dynamics_of_a_model_or_of_a_job(api: Api) -> None:
    body = {"blob": api.put(b"nir"), "dynamics": {"preset": "auto", "set": {"dt_s": 0.001}}}
    model = api.http.post("/v1/models", json=body).json()
    assert model["dynamics"] == {"preset": "auto", "set": {"dt_s": 0.001}}
    api.check({"nodes": 3, "input_shape": MODEL_SUMMARY["input_shape"]})
    job = api.job(model=model["id"])
    assert job["spec"]["dynamics"] is None
    assert job["spec"]["auto"] == {"preset": "auto", "set": {"dt_s": 0.001}, "max_samples": 256}
    job = api.job(dynamics={"preset": "auto", "max_samples": 64})  # over the profile of the model
    assert (job["spec"]["dynamics"], job["spec"]["auto"]["max_samples"]) == (None, 64)


def test_auto_dynamics_choose_nothing_on_a_test_split(api: Api) -> None:
    alone = DATA_SUMMARY | {"splits": {"test": 40}}
    asked = {"dataset": api.dataset(alone, b"alone"), "recipe": "evaluate", "dynamics": {"preset": "auto"}}
    refused(api, 422, "dynamics_needs_counts", "/dynamics", **asked)
    assert api.job(**asked, expected_counts=api.put(b"counts"))["status"] == "queued"


def test_auto_dynamics_refuse_fields_that_no_preset_takes(api: Api) -> None:
    body = {"blob": api.put(b"nir"), "dynamics": {"preset": "auto", "set": {"nonsense": 1}}}
    answer = api.http.post("/v1/models", json=body)
    assert answer.status_code == 422
    assert "nonsense" in answer.text
