"""The command: every exit code, JSON alone on standard output, what is sent and what is written."""

from __future__ import annotations

import io
import json
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from spikebit.tables import hints_table

Run = Callable[..., Any]
Files = tuple[str, str]


def test_quantize_sends_the_request_and_writes_the_folder(run: Run, service: Any, files: Files, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text('{"weights": {}}')
    out = tmp_path / "out"
    result = run(
        *("quantize", *files, "--dynamics", "sinabs", "--dynamics-set", "membrane_floor=none"),
        *(
            "--dynamics-set",
            "dt_s=1e-3",
            "--repair",
            "--avg-bits",
            "4",
            "--max-drop",
            "2",
            "--max-bytes",
            "100",
            "--export",
            "nir",
            "--export",
            "c99",
        ),
        *("--plan", str(plan), "--expect", "0.95", "--seed", "7", "--out", str(out), "--json"),
    )
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["program_digest"] == "ab" * 32
    assert document["layers"][0] == {
        "layer": "fc1",
        "parameters": 100,
        "trace": 3.5,
        "trace_standard_error": 0.1,
        "trace_converged": True,
        "bits": 4,
        "bytes": 50,
    }
    assert service.bodies["models"]["dynamics"] == {
        "preset": "sinabs",
        "set": {"membrane_floor": "none", "dt_s": 0.001},
    }
    assert service.bodies["models"]["repair"] is True
    body = service.bodies["jobs"]
    assert body["gates"] == {
        "max_accuracy_drop_points": 2.0,
        "max_program_bytes": 100,
        "max_mean_weight_bits": 4.0,
    }
    assert (body["mean_weight_bits"], body["program_bytes"], body["expect"], body["seed"]) == (4.0, 100, 0.95, 7)
    assert body["plan"] == {"weights": {}}
    assert body["exports"] == ["nir", "c99"]
    assert {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()} == {
        "SHA256SUMS",
        "exports/lava/network.net",
        "report.json",
        "report.html",
        "report.md",
        "plan.json",
        "program/payload.bin",
    }
    assert len((out / "SHA256SUMS").read_text().splitlines()) == 6


def test_quantize_prints_a_table_and_a_summary(run: Run, files: Files) -> None:
    result = run("quantize", *files, "--dynamics", "nir-paper")
    assert result.exit_code == 0, result.output
    for text in ("fc1", "3.5 ± 0.1", "ab" * 32, "0 of 1,000", "a note", "passed"):
        assert text in result.stdout


def test_defaults_are_left_to_the_service(run: Run, service: Any, files: Files) -> None:
    run("quantize", *files, "--dynamics", "nir-paper")
    assert set(service.bodies["jobs"]) == {"recipe", "gates", "seed", "label", "model", "dataset"}


def test_a_failed_gate_is_1(run: Run, service: Any, files: Files) -> None:
    service.job["verdict"] = "fail"
    assert run("quantize", *files, "--dynamics", "nir-paper", "--json").exit_code == 1
    assert run("jobs", "wait", "job_1").exit_code == 1


def test_differing_counts_are_1(run: Run, service: Any, files: Files, tmp_path: Path) -> None:
    counts = tmp_path / "counts.npz"
    counts.write_bytes(b"counts")
    first = {"sample": 3, "output": 1, "expected": 4, "got": 5}
    service.report["sections"][0]["agreement"] = {"rows_equal": 99, "rows_total": 100, "first_difference": first}
    result = run("evaluate", *files, "--dynamics", "nir-paper", "--expect-counts", str(counts), "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert (document["accuracy"], document["correct"], document["samples"]) == (0.95, 95, 100)
    assert (document["rows_equal"], document["rows_total"]) == (99, 100)
    assert document["first_difference"] == first
    assert service.bodies["jobs"]["expected_counts"].startswith("sha256:")
    service.report["sections"][0]["agreement"] |= {"rows_equal": 100, "first_difference": None}
    assert run("evaluate", *files, "--dynamics", "nir-paper", "--expect-counts", str(counts)).exit_code == 0


def test_differing_spikes_are_1_and_are_told(run: Run, service: Any, files: Files, tmp_path: Path) -> None:
    traces = tmp_path / "traces.npz"
    traces.write_bytes(b"traces")
    first = {"sample": 3, "layer": "lif1", "step": 7, "neuron": 2, "expected": 1, "got": 0}
    layers = [{"layer": "lif1", "compared": 900, "differing": 4, "first_step": 7}]
    service.report["sections"][0]["traces"] = {"samples": 2, "layers": layers, "first_difference": first}
    arguments = ("evaluate", *files, "--dynamics", "nir-paper", "--expect-traces", str(traces))
    result = run(*arguments)
    assert result.exit_code == 1
    assert "layer lif1, step 7, neuron 2: expected 1, got 0" in result.stdout
    assert "4 of 900 neuron-steps differ" in result.stdout
    assert service.bodies["jobs"]["expected_traces"].startswith("sha256:")
    assert json.loads(run(*arguments, "--json").stdout)["traces"]["first_difference"] == first
    layers[0]["differing"] = 0
    assert run(*arguments).exit_code == 0


def test_evaluate_prints_firing_and_operations(run: Run, files: Files) -> None:
    result = run("evaluate", *files, "--dynamics", "nir-paper")
    for text in ("lif1", "0.1250", "4,321.0 per sample"):
        assert text in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("quantize",),
        ("quantize", "/nowhere.nir", "/nowhere.npz", "--dynamics", "nir-paper"),
        ("jobs", "add"),
        ("verify", "/nowhere"),
        ("nonsense",),
    ],
)
def test_usage_is_2(run: Run, service: Any, arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2
    assert service.requests == []


def test_a_malformed_override_is_2_and_says_what_was_found(run: Run, files: Files) -> None:
    result = run("quantize", *files, "--dynamics", "nir-paper", "--dynamics-set", "dt_s", "--json")
    assert result.exit_code == 2
    assert "found 'dt_s'" in json.loads(result.stdout)["error"]["detail"]
    assert "found 'dt_s'" in result.stderr


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [(401, "unauthorized", 3), (429, "quota", 3), (422, "unknown_preset", 2), (404, "not_found", 4)],
)
def test_the_service_refuses(run: Run, service: Any, files: Files, status: int, code: str, exit_code: int) -> None:
    problem = {"code": code, "detail": "no <b>[bold]", "errors": [{"pointer": "/a", "detail": "bad"}]}
    service.script[("POST", "/v1/models")] = [lambda request: httpx.Response(status, json=problem)]
    result = run("quantize", *files, "--dynamics", "nir-paper")
    assert result.exit_code == exit_code
    assert "no <b>[bold]" in result.stderr
    assert "/a: bad" in result.stderr


def test_a_rejected_model_is_4_with_the_reason(run: Run, service: Any, files: Files) -> None:
    service.upload = {"status": "rejected", "problem": {"code": "not_nir", "detail": "expected HDF5, found text"}}
    result = run("quantize", *files, "--dynamics", "nir-paper")
    assert result.exit_code == 4
    assert "expected HDF5, found text" in result.stderr


def test_a_failed_job_is_4(run: Run, service: Any, files: Files) -> None:
    service.job = {
        "status": "failed",
        "verdict": None,
        "problem": {"code": "expectation_missed", "detail": "expected 0.95, measured 0.15"},
    }
    result = run("evaluate", *files, "--dynamics", "nir-paper", "--expect", "0.95", "--json")
    assert result.exit_code == 4
    error = json.loads(result.stdout)
    assert error["error"]["code"] == "expectation_missed"
    assert error["exit_code"] == 4
    assert run("jobs", "wait", "job_1").exit_code == 4


def test_no_service_is_4(run: Run, service: Any, files: Files) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    service.script[("GET", "/v1/jobs/job_1")] = [refuse] * 6
    result = run("jobs", "show", "job_1")
    assert result.exit_code == 4
    assert "no answer from http://service.test" in result.stderr


def test_a_timeout_is_5(run: Run, service: Any, files: Files) -> None:
    service.job = {"status": "running", "verdict": None, "problem": None}
    result = run("quantize", *files, "--dynamics", "nir-paper", "--timeout", "0.05")
    assert result.exit_code == 5
    assert "spikebit jobs wait job_1" in result.stderr


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        ("failed", "run_deadline", 5),
        ("expired", None, 5),
        ("cancelled", None, 4),
        ("failed", "worker_lost", 4),
        ("failed", "invalid_dynamics", 4),
    ],
)
def test_how_a_job_ended(run: Run, service: Any, status: str, code: str | None, exit_code: int) -> None:
    problem = None if code is None else {"code": code, "detail": "because"}
    service.job = {"status": status, "verdict": None, "problem": problem}
    assert run("jobs", "wait", "job_1").exit_code == exit_code


def test_an_interrupt_is_130(run: Run, service: Any) -> None:
    def interrupt(request: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    service.script[("GET", "/v1/jobs/job_1")] = [interrupt]
    assert run("jobs", "wait", "job_1").exit_code == 130


def test_damaged_downloads_are_not_kept(run: Run, service: Any, tmp_path: Path) -> None:
    service.script[("GET", "/v1/artifacts/plan/content")] = [lambda request: httpx.Response(200, content=b"evil")]
    result = run("jobs", "download", "job_1", "--out", str(tmp_path / "out"))
    assert result.exit_code == 4
    assert "expected sha256" in result.stderr
    assert not (tmp_path / "out" / "plan.json").exists()
    assert not list((tmp_path / "out").glob(".*"))


def test_dry_run_submits_nothing(run: Run, service: Any, files: Files) -> None:
    result = run("quantize", *files, "--dynamics", "nir-paper", "--dry-run", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["valid"] is True
    assert [request.url.query for request in service.requests if request.url.path == "/v1/jobs"] == [b"dry_run=true"]


def test_sensitivity_prints_layers(run: Run, files: Files) -> None:
    result = run("sensitivity", *files, "--dynamics", "nir-paper")
    assert result.exit_code == 0, result.output
    assert "The prediction holds." in result.stdout
    assert "0.01 (0.02)" in result.stdout
    assert json.loads(run("sensitivity", *files, "--dynamics", "x", "--json").stdout)["layers"][0]["layer"] == "fc1"


@pytest.mark.parametrize(
    "arguments",
    [
        ("models", "list"),
        ("models", "show", "mod_1"),
        ("models", "wait", "mod_1"),
        ("models", "delete", "mod_1"),
        ("datasets", "list"),
        ("datasets", "show", "dat_1"),
        ("jobs", "list"),
        ("jobs", "show", "job_1"),
        ("jobs", "cancel", "job_1"),
        ("jobs", "delete", "job_1"),
        ("jobs", "report", "job_1"),
        ("jobs", "events", "job_1"),
        ("jobs", "add", "--model", "m", "--dataset", "d", "--recipe", "evaluate"),
    ],
)
def test_every_noun_speaks_json(run: Run, arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 0
    result = run(*arguments, "--json")
    assert result.exit_code == 0
    json.loads(result.stdout)


def test_models_show_what_the_numbers_say_about_the_presets() -> None:
    hints = [
        {"preset": "norse", "fits": False, "why": "r is not 1"},
        {"preset": "lava", "fits": None, "why": "no mark"},
    ]
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(hints_table(hints))
    text = console.export_text()
    assert [word in text for word in ("norse", "no ", "r is not 1", "lava", "?")] == [True] * 5


def test_models_and_datasets_add(run: Run, files: Files) -> None:
    model = run("models", "add", files[0], "--dynamics", "nir-paper", "--json")
    assert json.loads(model.stdout)["status"] == "ready"
    data = run("datasets", "add", files[1], "--no-wait", "--json")
    assert json.loads(data.stdout)["status"] == "checking"


@dataclass(frozen=True)
class Verified:
    ok: bool
    problems: tuple[str, ...]
    samples: int = 16
    spikes_compared: int = 1000
    program_digest: str = "ab"


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, str | None]]:
    calls: list[tuple[Path, str | None]] = []

    def verify_folder(path: Path, digest: str | None) -> Verified:
        calls.append((path, digest))
        return Verified(digest != "bad", () if digest != "bad" else ("wrong digest",))

    module = types.ModuleType("runtime.verify")
    module.verify_folder = verify_folder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "runtime.verify", module)
    return calls


def test_exports_are_downloaded_under_plain_names_alone(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("jobs", "download", "job_1", "--out", str(out)).exit_code == 0
    assert (out / "exports" / "lava" / "network.net").read_bytes() == b"lava"
    assert "exports/lava/network.net" in (out / "SHA256SUMS").read_text()
    assert not list(tmp_path.rglob(".profile"))
    assert not (out / "exports" / "evil").exists()


def test_verify(run: Run, verified: list[tuple[Path, str | None]], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("jobs", "download", "job_1", "--out", str(out)).exit_code == 0
    assert run("verify", str(out), "--digest", "ab").exit_code == 0
    assert verified == [(out, "ab")]
    result = run("verify", str(out), "--digest", "bad", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["problems"] == ["wrong digest"]
    assert run("verify", str(out / "program")).exit_code == 0
    assert run("verify", str(tmp_path / "nothing")).exit_code == 2


def test_run_is_offline_and_says_what_it_cost(run: Run, tmp_path: Path) -> None:
    import numpy as np

    np.savez(tmp_path / "data.npz", x=np.ones((2, 3, 4), np.uint8))
    result = run("run", str(tmp_path), str(tmp_path / "data.npz"))
    assert result.exit_code == 2
    assert "manifest.json" in result.output


def test_a_captured_profile_is_taken_from_its_file(run: Run, service: Any, files: Files, tmp_path: Path) -> None:
    profile = tmp_path / "dynamics.json"
    profile.write_text('{"preset": "norse", "set": {"dt_s": 0.001, "reset": "subtract"}}')
    assert run("evaluate", *files, "--dynamics", str(profile), "--dynamics-set", "dt_s=0.002").exit_code == 0
    asked = {"preset": "norse", "set": {"dt_s": 0.002, "reset": "subtract"}}
    assert service.bodies["models"]["dynamics"] == asked
    profile.write_text('["norse"]')
    result = run("evaluate", *files, "--dynamics", str(profile))
    assert result.exit_code == 2
    assert "expected" in result.stderr
