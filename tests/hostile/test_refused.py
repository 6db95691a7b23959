"""Every hostile file is refused with its code and message, in the limited child and within its bounds."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.corpus import DATASETS, MODELS, Case
from worker.intake_checks import check_upload

DYNAMICS = {"preset": "nir-paper"}


def request(kind: str, path: Path) -> dict[str, Any]:
    out = str(path.with_name("canonical"))
    return {"kind": kind, "path": str(path), "out": out, "dynamics": DYNAMICS if kind == "model" else None}


@pytest.mark.parametrize(
    ("kind", "name", "case"),
    [("model", *item) for item in MODELS.items()] + [("dataset", *item) for item in DATASETS.items()],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused_with_its_code(
    kind: str, name: str, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, code, words = case
    monkeypatch.chdir(tmp_path)
    build(tmp_path / "upload")
    answer = check_upload(request(kind, tmp_path / "upload"))
    assert answer["ok"] is False
    assert (answer["code"], words in answer["detail"]) == (code, True), answer
    assert not (tmp_path / "canonical").exists()
    assert not (tmp_path / "unpickled").exists()


# A child's peak starts at the resident size of whoever forked it: a small process stands between it and pytest.
MEASURE = (
    "import json, os, subprocess, sys\n"
    "process = subprocess.Popen(sys.argv[1:], stderr=subprocess.DEVNULL)\n"
    "_, status, usage = os.wait4(process.pid, 0)\n"
    "print(json.dumps([usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024]), file=sys.stderr)\n"
)


def run_child(asked: dict[str, Any]) -> tuple[dict[str, Any], float, int]:
    """Answer, processor seconds, and peak resident bytes of the child.

    Wall time would measure the other work of a busy test machine; the child waits for nothing.
    """
    command = [sys.executable, "-m", "worker.intake_child"]
    with subprocess.Popen(
        [sys.executable, "-S", "-c", MEASURE, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        process.stdin.flush()  # and left open: the child ends with its parent
        answer = json.loads(process.stdout.read())
        seconds, peak = json.loads(process.stderr.read())
    return answer, seconds, peak


DANGEROUS = [
    ("model", "declares 4 PiB"),
    ("model", "compressed zeros"),
    ("model", "chunk of 2 GiB"),
    ("model", "70,000 links"),
    ("model", "external storage"),
    ("dataset", "declares 4 TiB"),
    ("dataset", "inflates beyond"),
    ("dataset", "object array"),
]


@pytest.mark.parametrize(("kind", "name"), DANGEROUS)
def test_child_refuses_quickly_in_little_memory(kind: str, name: str, tmp_path: Path) -> None:
    build, code, _ = (MODELS if kind == "model" else DATASETS)[name]
    MODELS["text"][0](tmp_path / "idle")
    _, _, idle_bytes = run_child(request(kind, tmp_path / "idle"))
    build(tmp_path / "upload")
    answer, seconds, peak = run_child(request(kind, tmp_path / "upload"))
    assert answer["code"] == code, answer
    assert seconds < 1.0
    assert peak - idle_bytes < 200 << 20


def test_child_ends_with_its_parent() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.intake_child"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    _, _ = process.communicate(b"", timeout=20)
    assert process.returncode != 0


def test_child_has_no_torch_and_no_network() -> None:
    code = (
        "import json, sys, socket\n"
        "from worker import intake_child\n"
        "intake_child._isolate({'limits': {'address_space_bytes': 1 << 31}})\n"
        "import worker.intake_checks\n"
        "try:\n    socket.create_connection(('192.0.2.1', 53), 0.2); error = None\n"
        "except OSError as caught: error = caught.errno\n"
        "print(json.dumps(['torch' in sys.modules, error]), flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        has_torch, error = json.loads(process.stdout.readline())
    assert has_torch is False
    assert error in (errno.ENETUNREACH, errno.EPERM)
