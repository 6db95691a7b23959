"""``make bench NAME=exports``: what a program weighs, what its exports compute, and what a damaged folder does.

Programs of all fixtures and networks (:mod:`benchmarks.export_programs`), weights of 4 bits. Nothing here is timed.
"""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.export_programs import Made, programs
from benchmarks.exports_elsewhere import elsewhere
from benchmarks.frame import Absent, Finding, Measured, Row
from engine.exports.c99 import HEADER, SOURCE, export_c99
from engine.program.pack import program_arrays
from engine.program.write import write_program
from runtime import verify_folder
from runtime.reader import program_digest
from tests.exports.compiled import CC, STRICT, compiled, reference
from tests.hostile.test_program_folder import FILES, mutated, reseal, tampered
from tests.program.deep import KINDS, deep_program

MUTATIONS = 10_000
DEPTHS = (1, 8, 20, 50)  # neuron layers of the programs that are there for their size alone
ROWS = (
    Row("programs.written", "programs", "higher"),
    Row("programs.refused", "programs", "lower"),
    Row("payload.excess", "share", "lower", 0.02),
    Row("folder.excess", "bytes", "lower", 0.0),
    Row("c99.differing_values", "values", "lower", 0.0),
    Row("c99.braille.flash", "bytes", "lower", 32768.0),
    Row("c99.braille.ram", "bytes", "lower", 8192.0),
    Row("verilog.programs", "programs", "higher", 1.0),
    Row("verilog.failing", "programs", "lower", 0.0),
    Row("lava.programs", "programs", "higher", 1.0),
    Row("lava.differing_spikes", "spikes", "lower", 0.0),
    Row("nir.programs", "programs", "higher", 1.0),
    Row("nir.exact_differing", "samples", "lower", 0.0),
    Row("nir.leaky_equal", "share", "higher"),
    Row("mutations.accepted", "folders", "lower", 0.0),
    Row("mutations.crashed", "folders", "lower", 0.0),
    Row("mutations.file_named", "share", "higher", 1.0),
    Row("forged.accepted", "folders", "lower", 0.0),
    Row("forged.crashed", "folders", "lower", 0.0),
    Row("forged.field_named", "share", "higher"),
)


def run() -> Iterator[Finding]:
    """All rows."""
    made = list(programs())
    written = [one for one in made if one.program is not None]
    refused = {one.name: one.reason for one in made if one.program is None}
    yield Measured("programs.written", float(len(written)), None, {"names": [one.name for one in written]})
    yield Measured("programs.refused", float(len(refused)), None, refused)
    yield from _sizes(written)
    yield from _c99(written)
    yield from _braille(written)
    yield from elsewhere(written)
    yield from _mutations(written)


def _sizes(made: list[Made]) -> Iterator[Finding]:
    """``payload.bin`` against its parts at their declared widths; the folder against payload, layers and scales."""
    excess, beyond = {}, {}
    deep = [
        Made(f"deep_{kind}_{depth}", deep_program(kind, depth), np.zeros((0,), np.int64))
        for kind in KINDS
        for depth in DEPTHS
    ]
    for one in [*made, *deep]:
        program = one.program
        if program is None:
            continue
        x = one.x if one.x.size else np.zeros((1, 1, *program.input.shape), np.int64)
        with tempfile.TemporaryDirectory() as folder:
            size = write_program(program, Path(folder), x, {"engine": "benchmark"}).program_bytes
            whole = size + (Path(folder) / "manifest.json").stat().st_size
        parts = sum(c.weight.size * c.bits / 8 for c in program.connections if c.weight is not None)
        parts += sum(a.values.size * a.width / 8 for a in program_arrays(program) if a.role != "weight")
        scales = sum(np.unique(layer.scale).size for layer in program.layers)
        excess[one.name] = max(0.0, (size - 64 - parts) / parts)
        beyond[one.name] = float(whole - (size + 8192 + 200 * len(program.layers) + 4 * scales))
    yield Measured("payload.excess", max(excess.values()), None, excess)
    yield Measured("folder.excess", max(beyond.values()), None, beyond)


def _c99(made: list[Made]) -> Iterator[Finding]:
    """Every spike, membrane and current of every step: sanitized C against the reference runner."""
    if CC is None:
        yield Absent("c99.differing_values", "no C compiler on this machine")
        return
    differing = compared = 0
    for one in made:
        if one.program is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            for sample in one.x:
                ours, theirs = compiled(one.program, sample, Path(folder)), reference(one.program, sample)
                differing += sum(a != b for a, b in zip(ours, theirs, strict=True))
                compared += len(theirs)
    yield Measured("c99.differing_values", float(differing), None, {"compared": compared, "compiler": _version()})


def _version() -> str:
    return subprocess.run([str(CC), "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


def _braille(made: list[Made]) -> Iterator[Finding]:
    """``size`` of the object at -Os, self-test off: flash is text and data, RAM data, bss, state and stack arrays."""
    rows = ("c99.braille.flash", "c99.braille.ram")
    found = [one for one in made if one.name.startswith("braille")]
    if not found or CC is None:
        reason = "../shared/data is absent" if CC else "no C compiler on this machine"
        yield from (Absent(row, reason) for row in rows)
        return
    flash, ram, detail = 0, 0, {}
    for one in found:
        if one.program is not None:
            flashed, held, told = object_size(one)
            flash, ram = max(flash, flashed), max(ram, held)
            detail[one.name] = told
    detail["compiler"] = {"name": _version(), "options": "-Os, x86-64"}
    yield Measured(rows[0], float(flash), None, detail)
    yield Measured(rows[1], float(ram), None, detail)


def object_size(one: Made) -> tuple[int, int, dict[str, Any]]:
    """Flash and RAM bytes of a program's object file, and what they consist of."""
    if one.program is None:
        raise ValueError(f"{one.name} has no program")
    made = export_c99(one.program)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / HEADER).write_text(made.header)
        (folder / SOURCE).write_text(made.source)
        main = f'#include <stdio.h>\n#include "{HEADER}"\nint main(void) {{ printf("%zu", sizeof(spikebit_state)); }}\n'
        (folder / "state.c").write_text(main)
        subprocess.run([str(CC), *STRICT, "-Os", "-c", SOURCE, "-o", "program.o"], cwd=folder, check=True)
        subprocess.run([str(CC), "-std=c99", "state.c", "-o", "state"], cwd=folder, check=True)
        table = subprocess.run(["size", "program.o"], cwd=folder, capture_output=True, text=True, check=True).stdout
        state = int(subprocess.run(["./state"], cwd=folder, capture_output=True, text=True, check=True).stdout)
    text, data, bss = (int(word) for word in table.splitlines()[1].split()[:3])
    told = {"text": text, "data": data, "bss": bss, "state": state, "stack_arrays": made.stack_bytes}
    return text + data, data + bss + state + made.stack_bytes, told | {"constants": made.constant_bytes}


def _mutations(made: list[Made]) -> Iterator[Finding]:
    """Random changes of one file of a folder, checked with the digest that the service printed."""
    rng = random.Random(20261124)
    accepted = crashed = named = 0
    with tempfile.TemporaryDirectory() as name:
        folders = []
        for one in made[:12]:
            if one.program is not None:
                folder = Path(name) / one.name
                write_program(one.program, folder, one.x[:1, :4], {"engine": "benchmark"})
                folders.append((folder, program_digest(folder)))
                if not verify_folder(*folders[-1]).ok:
                    raise RuntimeError(f"the whole folder of {one.name} is refused")
        for _ in range(MUTATIONS):
            folder, digest = rng.choice(folders)
            file = folder / rng.choice(FILES)
            whole = file.read_bytes()
            file.write_bytes(mutated(whole, rng))
            try:
                result = verify_folder(folder, digest)
                accepted += result.ok
                named += any(file.name in problem for problem in result.problems)
            except Exception:
                crashed += 1
            file.write_bytes(whole)
        forged = _forged(folders, rng)
    detail = {"mutations": MUTATIONS, "folders": len(folders)}
    yield Measured("mutations.accepted", float(accepted), None, detail)
    yield Measured("mutations.crashed", float(crashed), None, detail)
    yield Measured("mutations.file_named", named / MUTATIONS, None, detail)
    yield Measured("forged.accepted", float(forged["accepted"]), None, forged)
    yield Measured("forged.crashed", float(forged["crashed"]), None, forged)
    yield Measured("forged.field_named", forged["named"] / forged["refused_alone"], None, forged)


def _forged(folders: list[tuple[Path, str]], rng: random.Random) -> dict[str, int]:
    """Changed manifests with digests made to fit: refused with the digest; alone, by the field that contradicts."""
    found = dict.fromkeys(("forged", "accepted", "crashed", "refused_alone", "named"), 0)
    for _ in range(MUTATIONS):
        folder, digest = rng.choice(folders)
        whole = {name: (folder / name).read_bytes() for name in FILES}
        try:
            reseal(folder, tampered(json.loads(whole["manifest.json"]), rng), whole["payload.bin"])
        except ValueError:  # not a number, or half a surrogate pair: there is nothing to seal
            continue
        if (folder / "manifest.json").read_bytes() == whole["manifest.json"]:
            continue
        found["forged"] += 1
        try:
            found["accepted"] += verify_folder(folder, digest).ok
            alone = verify_folder(folder)
            found["refused_alone"] += not alone.ok
            words = ("manifest", "layer", "connection", "golden.npz")
            found["named"] += any(word in told for told in alone.problems for word in words)
        except Exception:
            found["crashed"] += 1
        (folder / "manifest.json").write_bytes(whole["manifest.json"])
    return found
