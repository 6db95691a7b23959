from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np

from engine.program.golden import LIMIT_BYTES, deterministic_npz, golden_bytes, narrowest
from engine.program.manifest import build_manifest
from engine.program.pack import payload
from engine.program.write import write_program
from runtime import parse_program, verify_folder
from runtime.golden import replay
from tests.program.programs import random_input, random_program


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    program = random_program(7)
    x = random_input(program, 7)
    one = write_program(program, tmp_path / "a", x, {"seed": "0", "engine": "1"})
    two = write_program(random_program(7), tmp_path / "elsewhere", x, {"engine": "1", "seed": "0"})
    assert one == two
    for name in ("payload.bin", "manifest.json", "golden.npz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "elsewhere" / name).read_bytes()


def test_the_manifest_is_canonical_and_holds_no_place(tmp_path: Path) -> None:
    program = random_program(8)
    write_program(program, tmp_path, random_input(program, 8), {"engine": "1"})
    raw = (tmp_path / "manifest.json").read_text()
    assert raw == json.dumps(json.loads(raw), sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
    assert str(tmp_path) not in raw


def test_at_most_sixteen_samples_are_kept(tmp_path: Path) -> None:
    program = random_program(9)
    written = write_program(program, tmp_path, random_input(program, 9, samples=20), {})
    assert written.golden_samples == 16
    assert verify_folder(tmp_path).samples == 16


def test_golden_vectors_fit_their_limit() -> None:
    program = random_program(10)
    held = parse_program(build_manifest(program, {}), payload(program))
    x = random_input(program, 10, samples=16, steps=64)
    whole, kept = golden_bytes(held, x)
    assert kept == 16
    assert len(whole) <= LIMIT_BYTES
    fewer, kept = golden_bytes(held, x, limit=len(whole) // 2)
    assert 1 <= kept < 16
    assert len(fewer) <= len(whole) // 2
    assert replay(held, fewer)[0] == []


def test_where_one_sample_does_not_fit_its_digests_are_kept_then_fewer_steps() -> None:
    program = random_program(10)
    held = parse_program(build_manifest(program, {}), payload(program))
    x = random_input(program, 10, samples=2, steps=256)
    one, _ = golden_bytes(held, x[:1])
    hashed, kept = golden_bytes(held, x, limit=1)
    assert kept == 1
    with np.load(io.BytesIO(hashed)) as arrays:
        assert arrays["input"].shape[:2] == (1, 1)
        assert "spikes_0" not in arrays
        assert arrays["digests_0"].shape == (1, 1, 32)
        assert arrays["output_spikes"].shape[:2] == (1, 1)
    assert replay(held, hashed)[0] == []
    assert len(hashed) < len(one)
    with np.load(io.BytesIO(hashed)) as arrays:
        changed = {name: array.copy() for name, array in arrays.items()}
    changed["digests_0"][0, 0, 5] ^= 1
    problems = replay(held, deterministic_npz(changed))[0]
    assert len(problems) == 1
    assert "digests of layer" in problems[0]


def test_narrowest_dtype() -> None:
    for values, dtype in (([0, 255], np.uint8), ([-1, 1], np.int8), ([0, 256], np.uint16), ([-(2**40)], np.int64)):
        assert narrowest(np.array(values)).dtype == dtype
