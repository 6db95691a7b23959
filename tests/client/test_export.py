"""``spikebit models export``: what is asked, what is written, and every way to fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

Run = Callable[..., Any]


def test_a_file_and_a_snippet_are_written(run: Run, service: Any, tmp_path: Path) -> None:
    out, snippet = tmp_path / "net.nir", tmp_path / "net.py"
    result = run(
        "models", "export", "mdl_1", "--framework", "norse", "-o", str(out), "--snippet", str(snippet), "--json"
    )
    assert result.exit_code == 0, result.output
    assert service.bodies["exports"] == {"model": "mdl_1", "framework": "norse", "snippet": True}
    assert out.read_bytes() == b"nir"
    assert snippet.read_text() == "def load(path): ...\n"
    assert json.loads(result.stdout)["file"] == str(out)


def test_without_a_snippet_none_is_asked_for(
    run: Run, service: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("models", "export", "mdl_1", "--framework", "spikingjelly")
    assert result.exit_code == 0, result.output
    assert service.bodies["exports"]["snippet"] is False
    assert [path.name for path in tmp_path.iterdir()] == ["mdl_1-spikingjelly.nir"]
    assert "wrote mdl_1-spikingjelly.nir" in result.stdout


@pytest.mark.parametrize(
    ("needs", "said"), [({}, "not needed, shows how"), ({"a": ["a reset"]}, "the importer alone would build another")]
)
def test_it_says_whether_the_snippet_is_needed(
    run: Run, service: Any, tmp_path: Path, needs: dict[str, Any], said: str
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        record = service._exports(request, "exp_1").json()
        record["summary"]["needs_snippet"] = needs
        return httpx.Response(200, json=record)

    service.script[("GET", "/v1/exports/exp_1")] = [answer]
    out, snippet = str(tmp_path / "a.nir"), str(tmp_path / "a.py")
    result = run("models", "export", "mdl_1", "--framework", "snntorch", "-o", out, "--snippet", snippet)
    assert said in result.stdout.replace("\n", " ")


def test_a_refusal_names_the_node_and_the_way_out(run: Run, service: Any, tmp_path: Path) -> None:
    problem = {"code": "needs_snippet", "detail": "node '1': Norse's importer would build a reset to 0"}
    service.upload = {"status": "rejected", "problem": problem}
    out = tmp_path / "net.nir"
    result = run("models", "export", "mdl_1", "--framework", "norse", "-o", str(out))
    assert result.exit_code == 4
    assert "node '1': Norse's importer" in result.output
    assert "--snippet FILE.py" in result.output
    assert not out.exists()


def test_damaged_bytes_are_not_kept(run: Run, service: Any, tmp_path: Path) -> None:
    service.script[("GET", "/v1/exports/exp_1/content")] = [lambda request: httpx.Response(200, content=b"other")]
    out = tmp_path / "net.nir"
    result = run("models", "export", "mdl_1", "--framework", "norse", "-o", str(out), "--json")
    assert result.exit_code == 4
    assert json.loads(result.stdout)["error"]["code"] == "digest_mismatch"
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_and_an_unknown_framework(run: Run, tmp_path: Path) -> None:
    result = run("models", "export", "mdl_1", "--framework", "norse", "-o", str(tmp_path), "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["code"] == "unwritable_file"
    assert run("models", "export", "mdl_1", "--framework", "nengo").exit_code == 2
    assert run("models", "export", "mdl_1").exit_code == 2
