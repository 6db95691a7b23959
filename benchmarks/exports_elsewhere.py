"""Rows of ``make bench NAME=exports`` that somebody else's tool decides: Icarus Verilog, Lava, floats of NIR files."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.export_programs import Made, loihi_plan, programs
from benchmarks.frame import Absent, Finding, Measured
from engine.errors import NotRepresentable
from engine.exports.lava import export_lava
from engine.exports.nir import export_nir
from engine.exports.verilog import export_verilog
from engine.program.program import IntArray
from tests.exports.lava_run import ABSENT, PYTHON, expected_spikes, lava_spikes

LAVA_STEPS = 16


def elsewhere(made: list[Made]) -> Iterator[Finding]:
    """All of them."""
    yield from _verilog(made)
    yield from _lava()
    yield from _nir(made)


def _inside(one: Made) -> IntArray:
    if one.program is None:
        raise ValueError(f"{one.name} has no program")
    x: IntArray = np.clip(one.x, one.program.input.lo, one.program.input.hi)
    return x


def _verilog(made: list[Made]) -> Iterator[Finding]:
    """Whole programs in Icarus Verilog: their test bench compares every spike, membrane and current."""
    if shutil.which("iverilog") is None:
        yield from (Absent(row, "iverilog is not installed") for row in ("verilog.programs", "verilog.failing"))
        return
    told, failing = {}, 0
    for one in made:
        if one.program is None:
            continue
        try:
            files = export_verilog(one.program, _inside(one)[0]).files
        except NotRepresentable:
            continue
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                (Path(folder) / name).write_text(text)
            sources = sorted(name for name in files if name.endswith(".v"))
            subprocess.run(["iverilog", "-g2005", "-o", "test", *sources], cwd=folder, check=True)
            ran = subprocess.run(["vvp", "test"], cwd=folder, capture_output=True, text=True, check=True)
        told[one.name] = ran.stdout.strip()
        failing += not told[one.name].startswith("PASS")
    yield Measured("verilog.programs", float(len(told)), None, told)
    yield Measured("verilog.failing", float(failing))


def _lava() -> Iterator[Finding]:
    """Programs as a job for Loihi plans them, in Lava's bit-accurate simulation: every output spike."""
    if not PYTHON.exists():
        yield from (Absent(row, ABSENT) for row in ("lava.programs", "lava.differing_spikes"))
        return
    found: dict[str, int] = {}
    differing = compared = 0
    for one in programs(loihi_plan):
        if one.program is None:
            continue
        try:
            export_lava(one.program)
        except NotRepresentable:
            continue
        x = _inside(one)[:1, :LAVA_STEPS]
        with tempfile.TemporaryDirectory() as folder:
            theirs = lava_spikes(one.program, x, Path(folder))
        wanted = expected_spikes(one.program, x)
        found[one.name] = int(wanted.sum())
        differing, compared = differing + int((theirs != wanted).sum()), compared + wanted.size
    yield Measured("lava.programs", float(len(found)), None, {"spikes": found})
    yield Measured("lava.differing_spikes", float(differing), None, {"compared": compared})


def _nir(made: list[Made]) -> Iterator[Finding]:
    """Floats of the exported files beside the programs: samples whose counts differ."""
    equal, samples, frameworks, differing = 0, 0, {}, 0
    for one in made:
        if one.program is None:
            continue
        try:
            written = export_nir(one.program, _inside(one))
        except NotRepresentable:
            continue
        frameworks[one.name] = {"for": sorted(written.made), "exact": written.exact, "equal": written.equal_samples}
        if written.exact:
            differing += written.samples - written.equal_samples
        else:
            equal, samples = equal + written.equal_samples, samples + written.samples
    yield Measured("nir.programs", float(len(frameworks)), None, frameworks)
    yield Measured("nir.exact_differing", float(differing))
    yield Measured("nir.leaky_equal", equal / max(1, samples), None, {"samples": samples})
