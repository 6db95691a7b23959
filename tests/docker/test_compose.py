"""What `make compose-test` relies on, without podman."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from benchmarks.chaos.commit import code_key
from benchmarks.compose import __main__ as compose_test
from benchmarks.compose import images, podman
from tests.conftest import ROOT


def test_every_image_that_is_pulled_has_a_stand_in() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].values()
    named = {re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", service["image"]) for service in services if "build" not in service}
    for path in (ROOT / "docker").glob("*.Dockerfile"):
        named |= {line.split()[1] for line in path.read_text().splitlines() if line.startswith("FROM ")}
    named -= {"spikebit-api", "spikebit-worker"}
    full = {f"docker.io/{name}" if "/" in name else f"{images.LIBRARY}/{name}" for name in named}
    assert full == set(images.STAND_INS)


def test_without_podman_it_is_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(podman.os, "geteuid", lambda: 0)
    monkeypatch.setattr(podman.shutil, "which", lambda name: None if name == "podman" else f"/usr/bin/{name}")
    assert compose_test.main() == 0
    assert capsys.readouterr().out.startswith("SKIPPED not installed: podman (")
    monkeypatch.setattr(podman.os, "geteuid", lambda: 1000)
    assert compose_test.main() == 0
    assert "not root" in capsys.readouterr().out


def test_a_build_gets_pip_s_settings_and_the_folders_that_they_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wheels, index = tmp_path / "wheels", tmp_path / "index" / "simple"
    wheels.mkdir()
    index.mkdir(parents=True)
    listed = f"global.find-links='{wheels}'\n:env:.extra-index-url='https://example.org/simple file://{index}'\n"
    monkeypatch.setattr(images, "FOLDER", tmp_path)
    monkeypatch.setattr(images, "run", lambda *_: listed)
    options = images.build_options()
    assert options[:4] == ["--network", "host", "-v", f"{tmp_path / 'pip.conf'}:/etc/pip.conf:ro"]
    assert options[4:] == ["-v", f"{index.parent}:{index.parent}:ro", "-v", f"{wheels}:{wheels}:ro"]
    assert f"find-links = {wheels}" in (tmp_path / "pip.conf").read_text()


def test_a_history_is_of_the_code_that_ran() -> None:
    service = code_key()
    assert re.fullmatch(r"[0-9a-f]{16}(-changed)?", service)
    assert code_key("benchmarks/chaos")[:16] != service[:16]
    with pytest.raises(RuntimeError, match="entries of the commit"):
        code_key("no/such/folder")
