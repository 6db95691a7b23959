"""A damaged program folder is refused, whatever was changed; the digest that the service printed is the root."""

from __future__ import annotations

import copy
import json
import os
import random
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.program.manifest import seal
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


STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2, 3, 31, 32, 33, 65535, 65536, 1 << 26, 1 << 40, 1 << 70, 0.5, float("nan"), "", "floor",
    "\ud800", "../../etc/passwd", "/dev/zero", [], [0], [1 << 26, 1 << 26], {},
    {"flatten": [0, 9]}, {"sum_pool": [1 << 40, 0]}, "u32*999999999", "1+31*9:!", {"like": 0},
)  # fmt: skip


def leaves(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Places of everything inside a JSON value, objects and lists too."""
    found = [place] if place else []
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in entries:
        found += leaves(part, (*place, key))
    return found


def tampered(manifest: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """A manifest with one or two fields changed, removed, doubled or exchanged: what a forger would try."""
    new = copy.deepcopy(manifest)
    for _ in range(rng.randrange(1, 3)):
        *way, last = rng.choice(leaves(new))
        holder = new
        for key in way:
            holder = holder[key]
        choice = rng.randrange(6)
        if choice == 0 and isinstance(holder[last], int):
            holder[last] += rng.choice((-1, 1, 7, -100, 1 << 20))
        elif choice == 1:
            del holder[last]
        elif choice == 2 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[last]))
        elif choice == 3:
            *other, end = rng.choice(leaves(manifest))
            taken: Any = manifest
            for key in (*other, end):
                taken = taken[key]
            holder[last] = copy.deepcopy(taken)
        else:
            holder[last] = copy.deepcopy(rng.choice(STRANGE))
    return new


def reseal(folder: Path, manifest: dict[str, Any], payload: bytes) -> None:
    """Write a manifest with digests that fit it: only the digest that the service printed tells it from a real one."""
    unsigned = {key: value for key, value in manifest.items() if key != "digests"}
    sealed = seal(unsigned, payload, (folder / "golden.npz").read_bytes())
    (folder / "payload.bin").write_bytes(payload)
    (folder / "manifest.json").write_bytes(sealed)


@pytest.mark.parametrize("count", [120, pytest.param(10_000, marks=pytest.mark.slow)])
def test_forged_digests_crash_nothing_and_the_service_s_digest_finds_them(count: int, tmp_path: Path) -> None:
    rng = random.Random(count)
    refused = named = 0
    made = []
    for seed in range(5):
        folder, program = tmp_path / str(seed), random_program(seed)
        write_program(program, folder, random_input(program, seed, samples=1, steps=3), {"engine": "test"})
        made.append((folder, program_digest(folder), json.loads((folder / "manifest.json").read_text())))
    for _ in range(count):
        folder, digest, manifest = rng.choice(made)
        whole = {name: (folder / name).read_bytes() for name in FILES}
        payload = whole["payload.bin"] if rng.random() < 0.7 else mutated(whole["payload.bin"], rng)
        try:
            reseal(folder, tampered(manifest, rng), payload)
        except (UnicodeEncodeError, ValueError):  # no JSON to seal: NaN or half a surrogate pair
            continue
        alone = verify_folder(folder)
        rooted = verify_folder(folder, digest)
        changed = any((folder / name).read_bytes() != whole[name] for name in FILES)
        for name, data in whole.items():
            (folder / name).write_bytes(data)
        assert rooted.ok != changed
        refused += not alone.ok
        named += any("manifest" in told or "layer" in told or "connection" in told for told in alone.problems)
    assert refused > 0.8 * count * 0.9  # what is left changed words alone: a name, a provenance
    assert named > 0.7 * refused


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m["layers"][0].update(state_bits=33), r"layers\[0\]\.state_bits"),
        (lambda m: m["connections"][0].update(bits=17), r"connections\[0\]\.bits"),
        (lambda m: m["layers"][0]["arrays"].update(fire_at="u33"), r"layers\[0\]\.arrays\.fire_at"),
        (lambda m: m["layers"][0]["arrays"].update(more="u3"), r"layers\[0\]\.arrays: unknown arrays more"),
        (lambda m: m["layers"][0].update(like=9), r"layers\[0\]\.like"),
        (lambda m: m["shared"].append({"kind": "lif"}), r"shared\[\d\]: no layer or connection is like it"),
        (lambda m: m["layers"][0].update(scale="1+2*3:!"), r"layers\[0\]\.scale"),
        (lambda m: m["connections"][0].update(to=9), r"connections\[0\]\.to"),
        (lambda m: m["multiplications"].update(weight=[99]), r"manifest\.multiplications"),
        (lambda m: m["layers"][0].update(name=3), r"layers\[0\]\.name"),
        (lambda m: m["layers"][0].update(shape=[1 << 26, 1 << 26]), r"layers\[0\]\.shape"),
    ],
)
def test_the_field_is_named_where_the_file_still_parses(change: Any, words: str, tmp_path: Path) -> None:
    """Once with the old digests (a changed file), once with forged ones."""
    program = random_program(0)
    write_program(program, tmp_path, random_input(program, 0, samples=1, steps=3), {})
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    change(manifest)
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
    (tmp_path / "manifest.json").write_text(text)
    first = verify_folder(tmp_path)
    assert any("manifest.json: expected digest" in told for told in first.problems)
    reseal(tmp_path, manifest, (tmp_path / "payload.bin").read_bytes())
    for result in (first, verify_folder(tmp_path)):
        assert any(re.search(words, told) for told in result.problems), result.problems


@pytest.mark.parametrize("name", FILES)
def test_links_and_devices_are_not_followed(name: str, tmp_path: Path) -> None:
    program = random_program(1)
    folder = tmp_path / "p"
    write_program(program, folder, random_input(program, 1), {})
    digest = program_digest(folder)
    (folder / name).rename(tmp_path / "outside")
    for target in ("/dev/zero", tmp_path / "outside", folder / name):
        (folder / name).symlink_to(target)
        result = verify_folder(folder, digest)
        assert not result.ok
        assert any(name in told for told in result.problems)
        (folder / name).unlink()
    os.mkfifo(folder / name)
    result = verify_folder(folder, digest)
    assert any(
        f"{name} cannot be read: not a regular file" in told or "manifest.json" in told for told in result.problems
    )


@pytest.mark.parametrize("count", [120, pytest.param(10_000, marks=pytest.mark.slow)])
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
        assert any(name in problem for problem in result.problems)


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
