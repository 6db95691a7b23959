"""A damaged program folder is refused, whatever was changed; the digest that the service printed is the root."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from engine.program.write import write_program
from runtime import ProgramError, verify_folder
from runtime.reader import program_digest, read_program
from tests.program.programs import random_input, random_program

FILES = ("payload.bin", "manifest.json", "golden.npz")
SIGNS = b'0123456789-+.eE"{}[],: \x00\xff'


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Flip a bit, cut, double or shift a part, put in signs of JSON, exchange two parts; always different."""
    while True:
        at = rng.randrange(len(data))
        end = min(len(data), at + rng.randrange(1, 9))
        choice = rng.randrange(6)
        if choice == 0:
            new = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        elif choice == 1:
            new = data[:at]
        elif choice == 2:
            new = data[:end] + data[at:]
        elif choice == 3:
            new = data[:at] + data[end:]
        elif choice == 4:
            new = data[:at] + bytes(rng.choices(SIGNS, k=end - at)) + data[end:]
        else:
            other = rng.randrange(len(data))
            new = data[:at] + data[other : other + end - at] + data[end:]
        if new != data:
            return new


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_mutation_is_accepted_and_none_crashes(count: int, tmp_path: Path) -> None:
    rng = random.Random(count)
    programs = []
    for seed in range(5):
        program = random_program(seed)
        write_program(
            program, tmp_path / str(seed), random_input(program, seed, samples=2, steps=4), {"engine": "test"}
        )
        programs.append((tmp_path / str(seed), program_digest(tmp_path / str(seed))))
    for folder, digest in programs:
        assert verify_folder(folder, digest).ok
    for _ in range(count):
        folder, digest = rng.choice(programs)
        name = rng.choice(FILES)
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(mutated(whole, rng))
        result = verify_folder(folder, digest)
        (folder / name).write_bytes(whole)
        assert not result.ok
        assert any(name.split(".")[0] in problem or "program_digest" in problem for problem in result.problems)


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    program = random_program(1)
    write_program(program, tmp_path / "p", random_input(program, 1), {})
    digest = program_digest(tmp_path / "p")
    for name in FILES:
        shutil.copytree(tmp_path / "p", tmp_path / name)
        (tmp_path / name / name).unlink()
        (tmp_path / name / name).mkdir()
        result = verify_folder(tmp_path / name, digest)
        assert not result.ok
        assert any(name in problem for problem in result.problems)
    with pytest.raises(ProgramError, match=r"manifest\.json cannot be read"):
        read_program(tmp_path / "manifest.json")
