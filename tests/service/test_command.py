"""The installed command against the real service: what it prints, and every exit code."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.network.nir_reader import read_nir
from tests.hostile.corpus import MODELS
from tests.service.harness import Embedded
from tests.service.inputs import NETWORK, PRESET

pytestmark = pytest.mark.service
OK, GATE, USAGE, AUTH, SERVICE, TIMEOUT = range(6)


def run(service: Embedded, code: int, *words: str) -> dict[str, Any]:
    """Run with ``--json``; the exit code must be this one."""
    done = service.spikebit(*words, "--json")
    assert done.returncode == code, (done.stdout, done.stderr)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def problem(service: Embedded, code: int, *words: str) -> str:
    """The code of the problem that the command ended with."""
    document = run(service, code, *words)
    assert document["exit_code"] == code
    found: str = document["error"]["code"]
    return found


@pytest.fixture(scope="module")
def evaluated(embedded: Embedded, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``--out`` folder of an evaluation."""
    out = tmp_path_factory.mktemp("evaluated")
    document = run(embedded, OK, *evaluate(digits), "--expect", "0.9921", "--out", str(out))
    assert (document["correct"], document["samples"], document["rows_total"]) == (119, 120, None)
    assert document["accuracy"] == 119 / 120  # 0.0004 below what was expected: rounding
    return out


def evaluate(data: Path) -> tuple[str, ...]:
    return ("evaluate", str(NETWORK), str(data), "--dynamics", PRESET)


def test_equal_counts(embedded: Embedded, digits: Path, evaluated: Path) -> None:
    counts = str(evaluated / "counts-network.npz")
    document = run(embedded, OK, *evaluate(digits), "--expect-counts", counts)
    assert (document["rows_equal"], document["rows_total"], document["first_difference"]) == (120, 120, None)


def test_one_count_differs(embedded: Embedded, digits: Path, evaluated: Path, tmp_path: Path) -> None:
    counts = np.load(evaluated / "counts-network.npz")["counts"].astype(np.int64)
    counts[17, 3] += 1
    np.savez(tmp_path / "counts.npz", counts=counts)
    document = run(embedded, GATE, *evaluate(digits), "--expect-counts", str(tmp_path / "counts.npz"))
    assert document["rows_equal"] == 119
    expected = int(counts[17, 3])
    assert document["first_difference"] == {"sample": 17, "output": 3, "expected": expected, "got": expected - 1}


def test_counts_of_another_shape(embedded: Embedded, digits: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "counts.npz", counts=np.zeros((3, 10), np.int64))
    done = embedded.spikebit(*evaluate(digits), "--expect-counts", str(tmp_path / "counts.npz"), "--json")
    assert done.returncode == SERVICE
    assert "(3, 10)" in json.loads(done.stdout)["error"]["detail"]
    assert "120" in json.loads(done.stdout)["error"]["detail"]


def test_a_missed_expectation(embedded: Embedded, digits: Path) -> None:
    quantize = ("quantize", *evaluate(digits)[1:])
    assert problem(embedded, SERVICE, *quantize, "--expect", "0.9923") == "expectation_missed"


def test_quantize_with_a_gate_that_fails(embedded: Embedded, few_digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("quantize", str(NETWORK), str(few_digits), "--dynamics", PRESET)
    document = run(embedded, GATE, *words, "--max-drop=-100", "--avg-bits", "4", "--out", str(out))
    assert (document["status"], document["verdict"]) == ("succeeded", "fail")
    gates = {gate["gate"]: gate for gate in document["gates"]}
    assert not gates["max_accuracy_drop_points"]["passed"]
    assert gates["max_mean_weight_bits"]["passed"]
    assert document["mismatched_spikes"] == 0
    assert len(document["layers"]) == 3
    sums = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=out, capture_output=True, check=False)
    assert sums.returncode == 0, sums.stdout
    assert run(embedded, OK, "verify", str(out), "--digest", document["program_digest"])["ok"]
    assert run(embedded, OK, "verify", str(out / "program"))["spikes_compared"] > 0
    run(embedded, GATE, "verify", str(out), "--digest", "0" * 64)


def test_quantize_with_a_plan_of_ones_own(embedded: Embedded, few_digits: Path, tmp_path: Path) -> None:
    words = ("quantize", str(NETWORK), str(few_digits), "--dynamics", PRESET)
    dry = run(embedded, OK, *words, "--dry-run", "--avg-bits", "3")
    assert [step["kind"] for step in dry["spec"]["steps"]][:3] == ["evaluate", "sensitivity", "allocate"]
    assert dry["estimate"]["program_bytes"] > 0
    (tmp_path / "plan.json").write_text(json.dumps({"weights": {"nothing": {"bits": 4}}}))
    assert problem(embedded, USAGE, *words, "--plan", str(tmp_path / "plan.json"), "--dry-run") == "invalid_plan"


def test_a_model_goes_back_into_a_framework(embedded: Embedded, tmp_path: Path) -> None:
    model = run(embedded, OK, "models", "add", str(NETWORK), "--dynamics", PRESET)["id"]
    out, snippet = tmp_path / "net.nir", tmp_path / "net.py"
    words = ("models", "export", model, "--framework", "norse", "-o", str(out))
    assert problem(embedded, SERVICE, *words) == "needs_snippet"
    document = run(embedded, OK, *words, "--snippet", str(snippet))
    assert document["status"] == "ready"
    assert set(document["summary"]["needs_snippet"]) <= set(read_nir(out).nodes)
    compile(snippet.read_text(), str(snippet), "exec")
    assert problem(embedded, SERVICE, "models", "export", "mdl_none", *words[3:]) == "not_found"


def test_sensitivity(embedded: Embedded, few_digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("sensitivity", str(NETWORK), str(few_digits), "--dynamics", PRESET, "--out", str(out))
    run(embedded, OK, *words)
    report = json.loads((out / "report.json").read_text())
    section = next(one for one in report["sections"] if one["kind"] == "sensitivity")
    assert [layer["trace"] > 0 for layer in section["layers"]] == [True] * 3
    assert all(layer["standard_error"] <= 0.05 * layer["trace"] for layer in section["layers"] if layer["converged"])
    assert not (out / "program").exists()


def test_usage_and_refused_files(embedded: Embedded, digits: Path, tmp_path: Path) -> None:
    MODELS["infinite"][0](tmp_path / "bad.nir")
    words = ("evaluate", str(tmp_path / "bad.nir"), str(digits), "--dynamics", PRESET)
    assert problem(embedded, SERVICE, *words) == "non_finite_weights"
    assert problem(embedded, USAGE, *evaluate(digits)[:-1], "nengo") == "unknown_preset"
    assert problem(embedded, USAGE, *evaluate(tmp_path / "absent.npz")) == "unreadable_file"


def test_a_wrong_key_and_no_patience(embedded: Embedded, digits: Path, few_digits: Path) -> None:
    quantize = ("quantize", str(NETWORK), str(few_digits), "--dynamics", PRESET)
    assert problem(embedded, TIMEOUT, *quantize, "--timeout", "0.5") == "timeout"
    job = run(embedded, OK, "jobs", "list")["items"][0]
    run(embedded, OK, "jobs", "cancel", job["id"])
    done = embedded.spikebit("--url", embedded.url, "--api-key", "spk_wrong", *evaluate(digits), "--json")
    assert done.returncode == AUTH, (done.stdout, done.stderr)
    assert json.loads(done.stdout)["error"]["code"] == "unauthorized"
