"""A confined process reads and writes what it was given, and nothing else of the same user."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from worker import landlock
from worker.landlock import confine, version

CODE = """
import os, sys
from pathlib import Path
from worker.isolation import forbid_new_privileges
from worker.landlock import confine

given, secret, own = map(Path, sys.argv[1:])
forbid_new_privileges()
assert confine([given], [own]) is None

def may(act):
    try:
        act()
    except PermissionError:
        return False
    return True

import decimal, engine.specs.job  # the library and our packages are still there
(own / "a").write_text("1")
os.replace(own / "a", own / "b")
print(
    may(given.read_text),
    may(lambda: given.write_text("2")),
    may(secret.read_text),
    may(lambda: list(secret.parent.iterdir())),
    may(lambda: os.truncate(secret, 0)),
    may(lambda: (secret.parent / "new").write_text("3")),
    may(lambda: os.link(given, secret.parent / "link")),
    may(lambda: Path("/dev/null").write_text("4")),
    may(lambda: os.readlink(f"/proc/{os.getppid()}/exe")),
)
"""


@pytest.mark.skipif(version() < 3, reason="the kernel has no Landlock of version 3 (6.2) or newer")
def test_what_a_confined_process_may_do(tmp_path: Path) -> None:
    given, secret, own = tmp_path / "inputs" / "model", tmp_path / "service" / "key", tmp_path / "attempt"
    for folder in (given.parent, secret.parent, own):
        folder.mkdir()
    given.write_text("weights")
    secret.write_text("spk_secret")
    command = [sys.executable, "-c", CODE, str(given), str(secret), str(own)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", *["False"] * 6, "True", "False"]
    assert secret.read_text() == "spk_secret"
    assert (own / "b").read_text() == "1"


def test_a_kernel_without_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "_syscall", lambda *arguments: -1)
    assert version() == 0
    assert "no Landlock" in str(confine([], []))


def test_another_platform_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert version() == 0
