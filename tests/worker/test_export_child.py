"""An export in the limited child: a canonical model in, the file for a framework out, or a refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.network.canonical import write_canonical
from engine.network.nir_reader import read_nir
from engine.specs.dynamics import DynamicsRequest, resolve_dynamics
from tests.fixtures.load import load_fixture
from worker.intake import Accepted, Answer, Refused, run_intake_child
from worker.intake_checks import check_upload


def request_for(name: str, folder: Path, **fields: Any) -> dict[str, Any]:
    fixture = load_fixture(name)
    write_canonical(read_nir(fixture.nir), folder / "model")
    dynamics = resolve_dynamics(DynamicsRequest.model_validate(fixture.dynamics))
    return {
        "kind": "export",
        "path": str(folder / "model"),
        "out": str(folder / "canonical"),
        "dynamics": dynamics.model_dump(mode="json"),
        "framework": "norse",
        "snippet": False,
    } | fields


def test_the_child_writes_the_file_and_the_snippet(tmp_path: Path) -> None:
    answer: Answer = run_intake_child(request_for("norse-lifbox-mlp", tmp_path), tmp_path, 60)
    assert isinstance(answer, Accepted), (answer, (tmp_path / "log").read_text())
    read_nir(Path(answer.canonical))
    assert answer.summary["needs_snippet"] == {}
    assert answer.summary["bytes"] == Path(answer.canonical).stat().st_size
    assert "def load(path)" in answer.summary["snippet"]


def test_the_child_refuses_by_the_node_s_name(tmp_path: Path) -> None:
    answer = run_intake_child(request_for("norse-lifbox-subtract-mlp", tmp_path), tmp_path, 60)
    assert isinstance(answer, Refused)
    assert (answer.code, answer.pointer) == ("needs_snippet", "1")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"framework": "nengo"}, "invalid_dynamics"),
        ({"dynamics": {"preset": "auto"}}, "invalid_dynamics"),
        ({"dynamics": {"preset": "nope"}}, "unknown_preset"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, fields: dict[str, Any], code: str) -> None:
    assert check_upload(request_for("norse-iaf-mlp", tmp_path, **fields))["code"] == code


def test_another_file_than_a_canonical_model_is_refused(tmp_path: Path) -> None:
    request = request_for("norse-iaf-mlp", tmp_path)
    Path(request["path"]).write_bytes(b"no safetensors")
    assert check_upload(request)["code"] == "not_canonical"
