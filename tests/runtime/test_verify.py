"""``verify_folder``: a whole folder passes; whatever is changed in it is found."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.program.golden import deterministic_npz
from engine.program.manifest import seal
from engine.program.write import Written, write_program
from runtime import verify_folder
from tests.program.programs import random_input, random_program


@pytest.fixture
def out(tmp_path: Path) -> tuple[Path, Written]:
    """A job's ``--out`` folder with a program and its sums."""
    program = random_program(5)
    written = write_program(program, tmp_path / "program", random_input(program, 5), {"engine": "test"})
    (tmp_path / "report.json").write_text("{}")
    names = ["report.json", "program/payload.bin", "program/manifest.json", "program/golden.npz"]
    lines = [f"{hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (tmp_path / "SHA256SUMS").write_text("".join(lines))
    return tmp_path, written


def test_a_whole_folder_passes_from_both_places(out: tuple[Path, Written]) -> None:
    folder, written = out
    for path in (folder, folder / "program", str(folder)):
        result = verify_folder(path, written.program_digest)
        assert result.problems == ()
        assert result.ok
        assert result.program_digest == written.program_digest
        assert result.samples == written.golden_samples == 3
        assert result.spikes_compared > 0
    assert verify_folder(folder, "sha256:" + written.program_digest.upper()).ok
    for rubbish in ("", "abc", "z" * 64):
        assert "expected 64 hexadecimal digits, got" in verify_folder(folder, rubbish).problems[0]


def test_the_digest_is_what_sha256sum_prints(out: tuple[Path, Written]) -> None:
    folder, written = out
    data = (folder / "program/manifest.json").read_bytes() + (folder / "program/payload.bin").read_bytes()
    assert hashlib.sha256(data).hexdigest() == written.program_digest
    result = verify_folder(folder, "0" * 64)
    assert not result.ok
    assert "program_digest: expected 000" in result.problems[0]


@pytest.mark.parametrize("name", ["payload.bin", "manifest.json", "golden.npz"])
def test_every_changed_byte_is_found(out: tuple[Path, Written], name: str) -> None:
    path = out[0] / "program" / name
    (out[0] / "SHA256SUMS").unlink()
    whole = path.read_bytes()
    step = max(1, len(whole) // 60)
    for at in range(0, len(whole), step):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        result = verify_folder(out[0])
        assert not result.ok, f"byte {at} of {name}"
    for changed in (b"", whole[:-1], whole + b"\0"):
        path.write_bytes(changed)
        assert not verify_folder(out[0]).ok
    path.unlink()
    assert not verify_folder(out[0]).ok


def test_sums_are_checked_where_they_are(out: tuple[Path, Written]) -> None:
    folder, _ = out
    (folder / "report.json").write_text("{ }")
    assert verify_folder(folder).problems == ("SHA256SUMS: report.json was changed",)
    (folder / "report.json").unlink()
    assert verify_folder(folder).problems == ("SHA256SUMS: report.json is missing",)
    assert verify_folder(folder / "program").ok  # report.json is none of its business
    sums = (folder / "SHA256SUMS").read_text()
    (folder / "SHA256SUMS").write_text(sums.replace("program/golden.npz", "program/other.npz"))
    assert verify_folder(folder / "program").problems == ("SHA256SUMS: program/other.npz is missing",)
    (folder / "SHA256SUMS").write_text("nonsense\n" + "0" * 64 + "  ../x\n")
    assert [p.split(":")[0] for p in verify_folder(folder).problems] == ["SHA256SUMS line 1", "SHA256SUMS line 2"]


def test_a_folder_without_program_is_a_problem_not_an_exception(tmp_path: Path) -> None:
    assert "no manifest.json" in verify_folder(tmp_path).problems[0]


def test_a_consistent_forgery_fails_the_replay(out: tuple[Path, Written]) -> None:
    """All digests recomputed around golden vectors that the program does not give."""
    folder = out[0] / "program"
    (out[0] / "SHA256SUMS").unlink()
    with np.load(folder / "golden.npz") as file:
        arrays: dict[str, Any] = dict(file)
    for key in ("counts", "spikes_0", "v_0"):
        wrong = arrays[key].copy()
        wrong.flat[-1] += 1
        golden = deterministic_npz({**arrays, key: wrong})
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest.pop("digests")
        (folder / "golden.npz").write_bytes(golden)
        (folder / "manifest.json").write_bytes(seal(manifest, (folder / "payload.bin").read_bytes(), golden))
        result = verify_folder(folder)
        assert len(result.problems) == 1
        assert "differs in 1 places" in result.problems[0]


def test_golden_arrays_are_exactly_the_expected_ones(out: tuple[Path, Written]) -> None:
    folder = out[0] / "program"
    with np.load(folder / "golden.npz") as file:
        arrays = dict(file)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest.pop("digests")
    objects = io.BytesIO()
    np.savez(objects, input=np.array([{}], dtype=object))
    for data, message in (
        (deterministic_npz({**arrays, "more": arrays["counts"]}), "expected arrays"),
        (deterministic_npz({"counts": arrays["counts"]}), "no input"),
        (objects.getvalue(), "cannot be read"),
        (b"no zip", "cannot be read"),
    ):
        (folder / "golden.npz").write_bytes(data)
        (folder / "manifest.json").write_bytes(seal(manifest, (folder / "payload.bin").read_bytes(), data))
        assert any(message in problem for problem in verify_folder(folder).problems)
