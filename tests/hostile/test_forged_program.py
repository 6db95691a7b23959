"""Folders whose digests fit what a forger put in: types, sizes and names that no reader may choke on."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.program.golden import deterministic_npz, golden_bytes
from engine.program.manifest import build_manifest, seal
from engine.program.pack import payload
from engine.program.program import INPUT, Connection, InputFormat, IntegerProgram, Layer, SumPool
from engine.program.write import write_program
from runtime import golden, parse_program, verify_folder
from runtime.golden import MOST_STEPS
from runtime.verify import LARGEST_SUMS
from tests.program.programs import random_input, random_program


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    program = random_program(0)
    write_program(program, tmp_path / "program", random_input(program, 0, samples=2, steps=4), {"engine": "test"})
    return tmp_path / "program"


def sealed(folder: Path, manifest: dict[str, Any] | None = None, vectors: dict[str, Any] | None = None) -> None:
    """Put a manifest or golden arrays in, with digests that fit."""
    held = json.loads((folder / "manifest.json").read_text()) if manifest is None else manifest
    if vectors is not None:
        (folder / "golden.npz").write_bytes(deterministic_npz(vectors))
    unsigned = {key: value for key, value in held.items() if key != "digests"}
    files = [(folder / name).read_bytes() for name in ("payload.bin", "golden.npz")]
    (folder / "manifest.json").write_bytes(seal(unsigned, *files))


def arrays(folder: Path) -> dict[str, Any]:
    with np.load(io.BytesIO((folder / "golden.npz").read_bytes())) as file:
        return dict(file)


@pytest.mark.parametrize("dtype", [[("a", "i4")], "V4", "f8", "c16", "M8[s]", "U3", "?"])
@pytest.mark.parametrize("name", ["counts", "input", "v_0"])
def test_golden_arrays_hold_integers(name: str, dtype: Any, folder: Path) -> None:
    held = arrays(folder)
    changed = held[name].astype(dtype) if dtype not in ("V4", [("a", "i4")]) else np.zeros(held[name].shape, dtype)
    sealed(folder, vectors={**held, name: changed})
    problems = verify_folder(folder).problems
    assert any(f"golden.npz: {name}: expected integers" in told for told in problems), problems


def test_a_golden_file_of_many_steps_is_refused_before_it_runs(folder: Path) -> None:
    """A zip of some kilobytes could else ask for hours."""
    held = arrays(folder)
    shape = held["input"].shape
    sealed(folder, vectors={**held, "input": np.zeros((1, MOST_STEPS + 1, *shape[2:]), dtype=np.uint8)})
    assert (folder / "golden.npz").stat().st_size < 10_000
    assert any("steps" in told for told in verify_folder(folder).problems)
    sealed(folder, vectors={**held, "input": np.zeros((2, MOST_STEPS, *shape[2:]), dtype=np.uint8)})
    assert any("expected shape (2, 65536" in told for told in verify_folder(folder).problems)


def test_a_sample_of_many_steps_is_cut_to_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden, "MOST_STEPS", 20)
    layer = Layer("out", "if", (1,), 8, 0, np.float32(1), fire_at=3, reset="subtract", reset_sub=3)
    connection = Connection("fc", INPUT, "out", "linear", (1,), (1,), bits=2, weight=[[1]])
    program = IntegerProgram(InputFormat((1,)), (layer,), (connection,), "out")
    held = parse_program(build_manifest(program, {}), payload(program))
    data, kept = golden_bytes(held, np.ones((1, 25, 1), dtype=np.int64))
    with np.load(io.BytesIO(data)) as file:
        assert kept == 1
        assert file["input"].shape == (1, 20, 1)


@pytest.mark.parametrize("digits", [39, 400, 4000])
def test_a_scale_of_many_digits_is_refused(digits: int, folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["layers"][0]["scale"] = 10**digits
    sealed(folder, manifest)
    assert any("layers[0].scale: expected a finite number" in told for told in verify_folder(folder).problems)


def test_padding_that_asks_for_terabytes_is_refused(tmp_path: Path) -> None:
    layer = Layer("out", "if", (1, 1), 8, 0, np.float32(1), fire_at=3, reset="subtract", reset_sub=3)
    pools = (SumPool((1, 1), (1, 1), (1, 1)), SumPool((2, 2), (3, 3), (0, 0)))
    connection = Connection("pool", INPUT, "out", "identity", (1, 1), (1, 1), before=pools)
    program = IntegerProgram(InputFormat((1, 1)), (layer,), (connection,), "out")
    write_program(program, tmp_path, np.ones((1, 2, 1, 1), dtype=np.int64), {})
    assert verify_folder(tmp_path).ok
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    first, second = manifest["connections"][0]["before"]
    first["padding"], second["stride"] = [1 << 17, 1 << 17], [1 << 19, 1 << 19]
    sealed(tmp_path, manifest)
    assert any("connection 'pool': expected at most" in told for told in verify_folder(tmp_path).problems)


@pytest.mark.parametrize(
    "name", ["x\0y", "n" * 5000, "program/loop", "../../etc/passwd", "/etc/shadow", "program/large"]
)
def test_strange_sums_are_told(name: str, folder: Path) -> None:
    (folder / "loop").symlink_to(folder / "loop")
    with (folder / "large").open("wb") as file:
        file.truncate(40 << 30)  # a file of holes: it takes no room
    (folder.parent / "SHA256SUMS").write_text(f"{'a' * 64}  {name}\n")
    for place in (folder.parent, folder):
        result = verify_folder(place)
        if place == folder.parent or name.startswith("program/"):
            assert any("SHA256SUMS" in told for told in result.problems)


def test_sums_that_are_no_small_file_are_told(folder: Path) -> None:
    sums = folder / "SHA256SUMS"
    with sums.open("wb") as file:
        file.truncate(LARGEST_SUMS + 1)
    assert any("SHA256SUMS cannot be read" in told for told in verify_folder(folder).problems)
    for target in ("/dev/zero", "/etc/passwd", "SHA256SUMS"):
        sums.unlink()
        sums.symlink_to(target)
        assert any("SHA256SUMS cannot be read" in told for told in verify_folder(folder).problems)
    sums.unlink()
    os.mkfifo(sums)
    assert any("SHA256SUMS cannot be read" in told for told in verify_folder(folder).problems)
