"""``export``: the program in the forms that targets take, one folder a format."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from engine.errors import InvalidSpec, NotRepresentable
from engine.exports.registry import EXPORTS
from engine.specs.programmed import ExportedFile, ExportSection
from engine.specs.steps import ExportStep
from engine.specs.target_memory import Memory
from engine.steps.context import ArtifactFile, Context, Work
from runtime.program import InputFormat

SAMPLES = 64  # of the test split: the first becomes a self-test, all are counted where an export is not exact


def export_step(spec: ExportStep, work: Work, context: Context) -> Work:
    """Write ``exports/FORMAT/…`` for every format asked for.

    Raises:
        InvalidSpec: there is no program.
        NotRepresentable: a format cannot say this program (the message names the layer), or ``target_violated``: it
            needs more than the memory that the job names.
    """
    began = time.perf_counter()
    program = work.program
    if program is None:
        raise InvalidSpec("invalid_step", "export needs an earlier step 'integerize'", "/steps")
    lo, hi = program.input.lo, program.input.hi
    few = InputFormat(program.input.shape, lo, hi, program.input.scale).integers(work.data.test.x[:SAMPLES])
    samples = np.clip(few, lo, hi)
    files, facts, artifacts = [], {}, []
    for name in spec.formats:
        folder = context.out / "exports" / name
        folder.mkdir(parents=True, exist_ok=True)
        made = EXPORTS[name](program, samples, folder)
        facts[name] = made.facts
        check_memory(name, made.memory, context.job.memory)
        for file, media_type in made.files.items():
            path = f"exports/{name}/{file}"
            files.append(ExportedFile(format=name, path=path, bytes=(context.out / path).stat().st_size))
            artifacts.append(ArtifactFile(f"export-{name}", path, media_type))
    section = ExportSection(files=tuple(files), facts=facts, seconds=time.perf_counter() - began)
    return replace(work, sections=(*work.sections, section), artifacts=(*work.artifacts, *artifacts))


def check_memory(name: str, needed: Memory, there: Memory) -> None:
    """What the finished program needs against the machine that the job names.

    Raises:
        NotRepresentable: ``target_violated``.
    """
    for field in ("flash_bytes", "ram_bytes"):
        need, have = getattr(needed, field), getattr(there, field)
        if None not in (need, have) and need > have:
            detail = f"export {name!r} needs {field} {need}, code apart; allowed {have}"
            detail += " (nearest: narrower weights or states)"
            raise NotRepresentable("target_violated", detail, "/memory")
