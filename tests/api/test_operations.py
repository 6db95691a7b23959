"""Several watchers, logs by range, expired files, full disks, traces, metrics, and the operator's routes."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import re
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from api.watch import Hub, JobState
from jobs.blobs import BlobWriter
from jobs.logs import JsonLines
from jobs.records import Artifact, Job
from jobs.store import (
    Tenant,
    WorkerReport,
    add_key,
    claim_job,
    generate_key,
    get_job,
    job_version,
    log,
    progress,
    publish,
    report_worker,
)
from tests.api.conftest import Api

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def events_of(text: str) -> list[tuple[int, str]]:
    return [(int(i), kind) for i, kind in re.findall(r"^id: (\d+)\nevent: (\w+)$", text, flags=re.MULTILINE)]


def test_several_watchers_see_all_and_a_late_one_goes_on_where_it_was(api: Api) -> None:
    job, claim = api.job()["id"], api.claim()
    seen: list[list[tuple[int, str]]] = []

    def watch() -> None:
        text = api.http.get(f"/v1/jobs/{job}/events", headers={"Accept": "text/event-stream"}).text
        seen.append(events_of(text))

    threads = [threading.Thread(target=watch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for done in range(5):
        assert progress(api.service.database, claim, "evaluate", done, 5)
        time.sleep(0.02)
    publish(api.service.database, claim, [], "none")
    for thread in threads:
        thread.join(20)
    assert len(seen) == 4
    numbers = [*range(1, 9), 8]  # queued, running, 5 × progress, succeeded, and the end with the last id again
    assert all([number for number, _ in events] == numbers for events in seen)
    assert seen[0][-1] == (8, "end")
    late = api.http.get(f"/v1/jobs/{job}/events", headers={"Accept": "text/event-stream", "Last-Event-ID": "6"})
    assert events_of(late.text) == [(7, "progress"), (8, "state"), (8, "end")]
    assert api.service.streams == {}


def test_the_hub_asks_once_for_all_and_notices_deletion(api: Api) -> None:
    jobs = [api.job()["id"] for _ in range(3)]
    hub, asked = Hub(api.service.database), []
    look = hub._look

    def counted(keys: list[tuple[str, str]]) -> dict[tuple[str, str], JobState]:
        asked.append(len(keys))
        return look(keys)

    hub._look = counted  # type: ignore[method-assign]

    async def watch(identity: str, most_s: float) -> JobState | None:
        with hub.watch(api.tenant.id, identity) as one:
            return await one.change(JobState(*job_version(api.tenant, identity)), most_s)

    async def main() -> list[JobState | None]:
        waiting = [asyncio.create_task(watch(identity, 5)) for identity in [*jobs, jobs[0]]]
        await asyncio.sleep(0.2)
        claim = claim_job(api.service.database, "compute", "w", 60)
        assert claim is not None
        with api.service.database.write() as session:
            session.delete(session.get_one(Job, (api.tenant.id, jobs[1])))
        changed = await asyncio.gather(waiting[0], waiting[1], waiting[3])
        waiting[2].cancel()
        await asyncio.sleep(0)
        assert hub.jobs == 0
        await hub.close()
        return changed

    first, second, fourth = asyncio.run(main())
    assert first == fourth == JobState(2, 2, False)
    assert second is None
    assert set(asked) <= {1, 2, 3}


def test_logs_by_range(api: Api) -> None:
    job, claim = api.job()["id"], api.claim()
    path = f"/v1/jobs/{job}/logs"
    log(api.service.database, claim, "first line", 10)
    whole = api.http.get(path).content
    log(api.service.database, claim, "zweite Zeile: äöü", 10)
    more = api.http.get(path, headers={"Range": f"bytes={len(whole)}-"})
    assert more.status_code == 206
    assert more.content.decode().endswith("zweite Zeile: äöü\n")
    total = len(whole) + len(more.content)
    assert more.headers["content-range"] == f"bytes {len(whole)}-{total - 1}/{total}"
    assert api.http.get(path).content == whole + more.content
    none_yet = api.http.get(path, headers={"Range": f"bytes={total}-"})
    assert (none_yet.status_code, none_yet.headers["content-range"]) == (416, f"bytes */{total}")


def test_an_expired_file_is_gone_and_says_why(api: Api) -> None:
    job = api.job()["id"]
    api.finish(api.claim())
    with api.service.database.write() as session:
        session.execute(update(Artifact).values(expired_at=datetime.now(UTC)))
    items = api.http.get(f"/v1/jobs/{job}/artifacts").json()["items"]
    assert all(item["expired_at"] for item in items)
    for path in (items[0]["href"], f"/v1/jobs/{job}/report"):
        gone = api.http.get(path)
        assert (gone.status_code, gone.json()["code"]) == (410, "artifact_expired")
        assert "by policy" in gone.json()["detail"]


def test_a_full_disk_keeps_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: BlobWriter, chunk: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    digest = "sha256:" + "0" * 64
    with monkeypatch.context() as patch:
        patch.setattr(BlobWriter, "write", full)
        answer = api.http.put(f"/v1/blobs/{digest}", content=b"data")
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
    assert list(api.service.blobs.temporary.glob("blob-*")) == []
    assert api.http.head(f"/v1/blobs/{digest}").status_code == 404


def test_a_full_database_refuses_a_job_whole(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"model": api.model(), "dataset": api.dataset(), "recipe": "evaluate"}

    def full(*_: Any, **__: Any) -> None:
        raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    with monkeypatch.context() as patch:
        patch.setattr("api.routes.jobs.submit", full)
        answer = api.http.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
    assert api.http.get("/v1/jobs").json()["items"] == []
    assert api.http.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"}).status_code == 202


def test_a_trace_goes_from_the_request_to_the_claim_and_the_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    model, dataset = api.model(), api.dataset()
    lines: list[dict[str, Any]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(JsonLines().format(record)))

    handler = Keep()
    logger = logging.getLogger("spikebit.api")
    logger.addHandler(handler)
    caplog.set_level("INFO", "spikebit.api")
    try:
        answer = api.http.post(
            "/v1/jobs",
            json={"model": model, "dataset": dataset, "recipe": "evaluate"},
            headers={"traceparent": TRACE, "X-Request-Id": "mine-1"},
        )
    finally:
        logger.removeHandler(handler)
    ours = answer.headers["traceparent"]
    assert ours[:36] == TRACE[:36]
    assert ours != TRACE
    claim = api.claim()
    assert (claim.trace, claim.request_id) == (ours, "mine-1")
    about = [line for line in lines if line.get("request_id") == "mine-1"]
    assert {line["trace_id"] for line in about} == {"4bf92f3577b34da6a3ce929d0e0e4736"}
    assert any(line.get("job_id") == claim.job_id for line in about)
    assert any(line.get("route") == "/v1/jobs" and line["status"] == 202 for line in about)
    assert api.http.get("/livez", headers={"traceparent": "rubbish"}).headers["traceparent"][3:35] != "0" * 32


def test_metrics_are_bounded_and_tell_the_queue(api: Api) -> None:
    for _ in range(3):
        api.job()
    api.claim()
    report_worker(
        api.service.database,
        WorkerReport(
            "compute@h:1:x",
            "compute",
            "h",
            None,
            "1",
            "busy",
            None,
            {"attempts:compute:published": 4, "lease_losses": 1},
        ),
    )
    for number in range(30):
        api.http.get(f"/v1/jobs/job_{number}")
        api.http.get(f"/nothing/{number}")
    page = api.http.get("/metrics", headers={"Authorization": ""})
    assert page.status_code == 200
    text = page.text
    assert 'spikebit_jobs{job_class="compute",status="queued"} 2.0' in text
    assert 'spikebit_jobs{job_class="compute",status="running"} 1.0' in text
    assert 'spikebit_oldest_seconds{job_class="compute",status="queued"}' in text
    assert 'spikebit_workers{job_class="compute",state="busy"} 1.0' in text
    assert 'spikebit_attempts_total{job_class="compute",outcome="published"} 4.0' in text
    assert "spikebit_lease_losses_total 1.0" in text
    assert 'spikebit_problems_total{code="not_found"} 60.0' in text
    assert re.search(r'spikebit_http_bytes_total{direction="in"} \d\d', text)
    assert 'route="/v1/jobs/{job_id}",status="4xx"} 30.0' in text
    assert "job_" not in re.sub(r"job_(class|id)", "", text), "no id is a label"
    assert "/nothing" not in text


def test_priorities_labels_and_deadlines_are_shown_and_found(api: Api) -> None:
    first = api.job(priority=-2, labels={"team": "vision"}, deadlines={"queue_s": 60, "run_s": 5})
    second = api.job(priority=7)
    assert (first["priority"], first["labels"], first["run_deadline_s"]) == (-2, {"team": "vision"}, 5)
    assert first["queue_deadline_at"] > first["created_at"]
    assert api.http.get(f"/v1/jobs/{first['id']}").json() == first
    found = api.http.get("/v1/jobs", params={"labels": "team:vision"}).json()["items"]
    assert [item["id"] for item in found] == [first["id"]]
    assert api.http.get("/v1/jobs", params={"labels": ["team:vision", "team:other"]}).json()["items"] == []
    assert api.claim().job_id == second["id"]
    for wrong in ({"priority": 11}, {"labels": {"Not allowed": "x"}}, {"labels": {f"l{i}": "" for i in range(17)}}):
        body = {"model": api.model(), "dataset": api.dataset(), "recipe": "evaluate"} | wrong
        assert api.http.post("/v1/jobs", json=body).status_code == 422


def test_a_job_for_a_device_that_nobody_has_is_refused(api: Api) -> None:
    body = {"model": api.model(), "dataset": api.dataset(), "recipe": "evaluate", "device": "cuda"}
    refused = api.http.post("/v1/jobs", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "device_unavailable")
    report_worker(api.service.database, WorkerReport("cuda@h:1:x", "cuda", "h", "0", "1", "idle", None, {}))
    answer = api.http.post("/v1/jobs", json=body)
    assert answer.status_code == 202
    assert answer.json()["class"] == "cuda"
    assert claim_job(api.service.database, "compute", "w", 60) is None
    assert claim_job(api.service.database, "cuda", "w", 60) is not None


def test_an_operator_makes_and_ends_keys(api: Api) -> None:
    made = api.http.post("/v1/keys", json={"name": "ci", "tenant": "other", "expires_in_s": 3600}).json()
    user = {"Authorization": f"Bearer {made['key']}"}
    assert (made["tenant"], made["scope"]) == ("other", "user")
    assert api.http.get("/v1/jobs", headers=user).json()["items"] == []
    for method, path in (("GET", "/v1/keys"), ("POST", "/v1/keys"), ("GET", "/v1/admin/queue")):
        refused = api.http.request(method, path, headers=user, json={"name": "x"} if method == "POST" else None)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    listed = api.http.get("/v1/keys").json()["items"]
    assert {item["id"] for item in listed} >= {made["id"]}
    assert not any("spk_" in json.dumps(item) for item in listed)
    assert api.http.delete(f"/v1/keys/{made['id']}").status_code == 204
    assert api.http.delete(f"/v1/keys/{made['id']}").status_code == 404
    api.service.known_keys.clear()  # else it is known for two seconds more
    assert api.http.get("/v1/jobs", headers=user).status_code == 401
    operator = api.http.post("/v1/keys", json={"name": "ops", "scope": "admin"}).json()["key"]
    assert api.http.get("/v1/admin/queue", headers={"Authorization": f"Bearer {operator}"}).status_code == 200


def test_an_expired_key_opens_nothing(api: Api) -> None:
    key = generate_key()
    add_key(Tenant(api.service.database, "default"), key, "old", datetime.now(UTC) - timedelta(seconds=1))
    assert api.http.get("/v1/jobs", headers={"Authorization": f"Bearer {key}"}).status_code == 401


def test_an_operator_sees_the_queue_drains_and_requeues(api: Api) -> None:
    job = api.job()["id"]
    stuck = api.claim()
    report_worker(api.service.database, WorkerReport("compute@h:1:x", "compute", "h", None, "1", "busy", job, {}))
    queue = api.http.get("/v1/admin/queue").json()
    assert [(line["class"], line["status"], line["number"]) for line in queue["queue"]] == [("compute", "running", 1)]
    assert queue["workers"][0]["job"] == job
    assert api.http.post(f"/v1/admin/jobs/{job}/requeue").json()["status"] == "queued"
    assert publish(api.service.database, stuck, [], "none") == "lost"
    assert get_job(api.tenant, job).attempts[0].outcome == "released"
    again = api.http.post(f"/v1/admin/jobs/{job}/requeue")
    assert (again.status_code, again.json()["code"]) == (409, "job_not_running")
    drained = api.http.post("/v1/admin/drains", json={"scope": "*"})
    assert [one["scope"] for one in drained.json()["drains"]] == ["*"]
    assert claim_job(api.service.database, "compute", "w", 60) is None
    assert api.http.delete("/v1/admin/drains/*").status_code == 204
    assert api.http.delete("/v1/admin/drains/*").status_code == 404
    assert claim_job(api.service.database, "compute", "w", 60) is not None
