"""What the user reads when something is wrong, said once and with the file's name."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from spikebit.client import Client
from spikebit.display import print_error
from spikebit.endpoint import find_endpoint
from spikebit.errors import SERVICE, USAGE, Problem, UsageError
from spikebit.tables import record_table

Run = Callable[..., Any]


def test_a_rejection_names_the_users_file(run: Run, service: Any, files: tuple[str, str]) -> None:
    service.upload = {"status": "rejected", "problem": {"code": "not_nir", "detail": "expected HDF5, found text"}}
    result = run("evaluate", *files, "--dynamics", "nir-paper")
    assert f"{files[0].rsplit('/', 1)[-1]} was rejected: expected HDF5, found text" in result.output
    assert "mdl_1 was rejected" in run("models", "wait", "mdl_1").output


def test_a_detail_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    entry = {"pointer": "/recipe", "detail": "unknown recipe 'x'"}
    print_error(Problem(422, {"code": "unknown_recipe", "detail": "unknown recipe 'x'", "errors": [entry]}))
    shown = capsys.readouterr().err
    assert shown.count("unknown recipe 'x'") == 1
    assert "at /recipe" in shown


@pytest.mark.parametrize("code", ["unknown_recipe", "target_violated"])
def test_what_was_typed_is_usage_and_a_failed_job_is_not(code: str) -> None:
    assert Problem(422, {"code": code}).exit_code == USAGE
    assert Problem(None, {"code": code}).exit_code == SERVICE


def test_an_interrupted_wait_names_the_job(
    run: Run, files: tuple[str, str], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "wait_job", interrupted)
    result = run("evaluate", *files, "--dynamics", "nir-paper")
    assert result.exit_code == 130
    assert "interrupted; job job_1 goes on; spikebit jobs wait|cancel job_1" in result.output


@pytest.mark.parametrize("environ", [{"SPIKEBIT_URL": "example.org:80", "SPIKEBIT_DATA": "/nonexistent"}])
def test_an_address_without_a_scheme_is_usage(environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"SPIKEBIT_URL: expected http://host:port .* found 'example.org:80'"):
        find_endpoint(environ)
    with pytest.raises(UsageError, match="--url: expected"):
        find_endpoint(environ, url="localhost")


def test_a_record_is_a_line_per_field() -> None:
    record = {"id": "m", "summary": {"layers": [["fc1", 3], ["fc2", 4]], "none": None}, "attempts": [{"number": 1}]}
    written = io.StringIO()
    Console(file=written, width=80).print(record_table(record, hidden=("id",)))
    text = written.getvalue()
    for words in ("summary.layers", "fc1 3, fc2 4", "attempts.1.number"):
        assert words in text
    assert "none" not in text
    assert "{" not in text
