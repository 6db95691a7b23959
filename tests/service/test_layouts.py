"""The main job over HTTP with the real client, and SIGKILL to every part in its middle, in every layout.

One file, so that one process of a parallel run starts each layout once.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from spikebit.download import download
from tests.service.harness import Service
from tests.service.inputs import EPOCHS, NETWORK, SENSITIVITY, TEST, long_job, main_job
from tests.service.watching import Result, finish, wait_for_epoch
from tests.worker.harness import until

pytestmark = pytest.mark.service


@pytest.fixture(scope="session")
def digests() -> dict[str, str]:
    """What the layout before this one produced."""
    return {}


def test_files_in_verified_program_out(
    service: Service, undisturbed: Result, digests: dict[str, str], tmp_path: Path
) -> None:
    result, job = undisturbed, undisturbed.job
    assert job.verdict == "none"
    with service.client() as client:
        files = download(client, client.artifacts(job.id), tmp_path / "out")
        html, markdown = client.report(job.id, "text/html"), client.report(job.id, "text/markdown")
        logs, events = client.job_page(job.id, "logs").text, client.job_page(job.id, "events").json()["items"]
    stages = {event["data"].get("stage") for event in events}
    assert result.attempts == [("succeeded", None)]
    assert "finetune:quantized" in stages
    program = result.section("integerize")
    assert program["mismatched_spikes"] == 0
    assert program["compared_spikes"] > 0
    assert program["mean_weight_bits"] <= 4
    assert program["program_bytes"] == (tmp_path / "out" / "program" / "payload.bin").stat().st_size
    assert len(result.section("finetune")["quantized"]["epochs"]) == EPOCHS
    assert result.section("evaluate")["accuracy"]["samples"] == TEST
    assert {str(path) for path in files} >= {"report.json", "report.html", "report.md", "plan.json"}
    assert html.startswith(b"<!doctype html>")
    assert markdown.startswith(b"#")
    assert "step 1 of 6: evaluate" in logs
    numbers = [event["seq"] for event in events]
    assert numbers == sorted(set(numbers))
    checkpoints = [event["data"]["digest"] for event in events if event["event"] == "checkpoint"]
    assert len(checkpoints) == EPOCHS
    with service.http() as http:  # they were needed until the job ended
        until(lambda: all(http.head(f"/v1/blobs/{digest}").status_code == 404 for digest in checkpoints), 10)

    verified = service.spikebit("verify", str(tmp_path / "out"), "--digest", program["program_digest"])
    assert verified.returncode == 0, verified.stdout
    payload = tmp_path / "out" / "program" / "payload.bin"
    data = bytearray(payload.read_bytes())
    data[len(data) // 2] ^= 1
    payload.write_bytes(data)
    broken = service.spikebit("verify", str(tmp_path / "out"))
    assert broken.returncode == 1
    assert "wrong:" in broken.stdout

    assert digests.setdefault("program", program["program_digest"]) == program["program_digest"]
    assert digests.setdefault("plan", result.digests["plan"]) == result.digests["plan"]


def test_sensitivity(service: Service, inputs: tuple[str, str]) -> None:
    request: dict[str, object] = {"model": inputs[0], "dataset": inputs[1], "recipe": "sensitivity"}
    request["options"] = {"sensitivity": SENSITIVITY}
    with service.client() as client:
        job = client.wait_job(client.submit(request).id)
        assert job.status == "succeeded", job.raw
        roles = {artifact.role for artifact in client.artifacts(job.id)}
        report = client.report(job.id)
    assert b'"trace"' in report
    assert "program-payload" not in roles


def test_a_running_fine_tune_is_cancelled(service: Service, inputs: tuple[str, str]) -> None:
    with service.client() as client:
        first, second = client.submit(long_job(*inputs)), client.submit(long_job(*inputs))
        wait_for_epoch(client, first.id, 1)
        assert client.cancel(second.id).status == "cancelled"  # it waited: nothing to end
        begun = time.monotonic()
        client.cancel(first.id)
        job = client.wait_job(first.id, deadline=begun + 30)
        assert time.monotonic() - begun < 10
        assert (job.status, client.artifacts(job.id)) == ("cancelled", ())
        assert [attempt["outcome"] for attempt in job.raw["attempts"]] == ["cancelled"]
        after = client.submit({"model": inputs[0], "dataset": inputs[1], "recipe": "evaluate"})
        assert client.wait_job(after.id, deadline=time.monotonic() + 60).status == "succeeded"


def test_the_same_file_is_uploaded_once(service: Service, inputs: tuple[str, str]) -> None:
    sent: list[int] = []
    with service.client() as client:
        again = client.add_model(NETWORK, dynamics="nir-paper", on_bytes=lambda done, total: sent.append(done))
    assert again.id == inputs[0]
    assert sent == [NETWORK.stat().st_size]


def same(found: Result, wanted: Result) -> None:
    assert found.section("integerize")["program_digest"] == wanted.section("integerize")["program_digest"]
    assert found.section("allocate")["plan"] == wanted.section("allocate")["plan"]
    assert found.digests == wanted.digests
    assert found.report["comparison"] == wanted.report["comparison"]
    assert len(found.section("finetune")["quantized"]["epochs"]) == EPOCHS


def test_the_worker_is_killed(service: Service, inputs: tuple[str, str], undisturbed: Result) -> None:
    with service.client() as client:
        job = client.submit(main_job(*inputs))
        epoch = wait_for_epoch(client, job.id, 2)
        service.kill("compute")
    service.revive("compute")
    result = finish(service, job.id)
    assert result.attempts == [("lost", "worker_lost"), ("succeeded", None)]
    workers = [attempt["worker"] for attempt in result.job.raw["attempts"]]
    assert workers[0] != workers[1]
    assert undisturbed.section("finetune")["resumed_from_epoch"] is None
    assert result.section("finetune")["resumed_from_epoch"] >= epoch
    same(result, undisturbed)


def test_the_child_is_killed(service: Service, inputs: tuple[str, str], undisturbed: Result) -> None:
    with service.client() as client:
        job = client.submit(main_job(*inputs))
        epoch = wait_for_epoch(client, job.id, 2)
        service.kill_child()
    result = finish(service, job.id)
    assert [code for _, code in result.attempts] == ["worker_lost", None]
    assert "SIGKILL" in result.job.raw["attempts"][0]["detail"]
    assert result.section("finetune")["resumed_from_epoch"] >= epoch
    same(result, undisturbed)


def test_redis_and_the_api_are_killed(service: Service, inputs: tuple[str, str], undisturbed: Result) -> None:
    """The job does not notice; a client that was waiting goes on waiting."""
    with service.client() as client:
        job = client.submit(main_job(*inputs))
        wait_for_epoch(client, job.id, 2)
        service.kill("redis")
        service.kill("api")
        service.revive("api")
        after = client.wait_job(job.id, deadline=time.monotonic() + 60)
        assert after.status == "succeeded"
        result = finish(service, job.id)
        assert result.attempts == [("succeeded", None)]
        same(result, undisturbed)
        service.revive("redis")
        evaluate = client.submit({"model": inputs[0], "dataset": inputs[1], "recipe": "evaluate"})
        assert client.wait_job(evaluate.id, deadline=time.monotonic() + 60).status == "succeeded"


def test_the_intake_worker_is_killed(service: Service, few_digits: Path) -> None:
    """What a dead worker would have checked is checked by the next."""
    service.kill("intake")
    with service.client() as client:
        dataset = client.add_dataset(few_digits)
        service.revive("intake")
        assert client.wait_upload("datasets", dataset.id, deadline=time.monotonic() + 60).status == "ready"


def test_the_api_stayed_small(service: Service, undisturbed: Result) -> None:
    """After all of the above it has still not loaded torch, and needs less than 200 MB."""
    assert undisturbed.job.status == "succeeded"
    process = Path(f"/proc/{service.pid('api')}")
    if not process.exists():
        pytest.skip("no /proc here: what a process loads and needs is not measured")
    assert "libtorch" not in (process / "maps").read_text()
    peak = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmHWM"))
    assert int(peak.split()[1]) * 1024 < 200 << 20
