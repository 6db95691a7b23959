"""A program folder on a file of samples: predictions, accuracy, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.cost import Operations, count_operations, state_bytes
from runtime.energy import Energy, estimate_energy
from runtime.errors import ProgramError
from runtime.golden import UNREADABLE
from runtime.program import IntArray
from runtime.reader import read_program
from runtime.runners import choose

BATCH = 32  # samples whose spikes are held at once


@dataclass(frozen=True)
class Applied:
    """Readout ``[sample, output]``, predictions, accuracy (None without labels), and counts over all samples.

    ``operations`` and ``energy`` are None where they were not asked for; ``runner`` says what ran.
    """

    counts: IntArray
    predictions: list[int]
    accuracy: float | None
    clamped: int
    saturated: dict[str, int]
    operations: Operations | None
    energy: tuple[Energy, ...] | None
    runner: str

    def write(self, path: Path) -> None:
        """The readout as ``counts`` of an npz."""
        np.savez_compressed(path, counts=self.counts)


def apply_program(
    folder: Path, x: NDArray[Any], y: NDArray[Any] | None = None, runner: str = "auto", cost: bool = True
) -> Applied:
    """Run a program on samples ``[sample, time, *input_shape]``; analogue values become its integers first.

    Args:
        folder: the program's, or one that holds it as ``program/``.
        x: samples.
        y: their labels.
        runner: ``auto``, ``numpy``, or the name of an installed one (:mod:`runtime.runners`); the results are the same.
        cost: count operations, too: about as long again as NumPy's own run.

    Raises:
        ProgramError: the folder or the samples are not what the program needs, or there is no such runner.
    """
    program = read_program(folder if (folder / "manifest.json").is_file() else folder / "program")
    if x.ndim < 2 or x.shape[2:] != program.input.shape or not len(x):
        raise ProgramError(f"expected samples [sample, time, {program.input.shape}], found shape {x.shape}")
    if y is not None and y.shape != (len(x),):
        raise ProgramError(f"expected {len(x)} labels, found shape {y.shape}")
    call, ran_by = choose(program, runner, len(x) * x.shape[1])
    counts, clamped, operations = [], 0, Operations()
    saturated = dict.fromkeys((layer.name for layer in program.layers), 0)
    for start in range(0, len(x), BATCH):
        part = program.input.integers(x[start : start + BATCH])
        trace = call(part)
        counts.append(trace.counts)
        clamped += trace.clamped
        saturated = {name: times + trace.saturated[name] for name, times in saturated.items()}
        if cost:
            operations += count_operations(program, np.clip(part, program.input.lo, program.input.hi), trace.spikes)
    payload = (folder if (folder / "manifest.json").is_file() else folder / "program") / "payload.bin"
    energy = estimate_energy(operations, payload.stat().st_size + state_bytes(program)) if cost else None
    whole = np.concatenate(counts)
    predictions = whole.argmax(axis=1)  # the lowest index among equals
    accuracy = None if y is None else float((predictions == y).mean())
    counted = operations if cost else None
    return Applied(whole, [int(p) for p in predictions], accuracy, clamped, saturated, counted, energy, ran_by)


def read_samples(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """``x`` (or ``x_test``) with ``y`` (``y_test``) of an npz, or the array of an npy; never a pickle.

    Raises:
        ProgramError: the file cannot be read or holds no samples.
    """
    try:
        held = np.load(path, allow_pickle=False)
        if isinstance(held, np.ndarray):
            return held, None
        with held as file:
            for suffix in ("", "_test"):
                if f"x{suffix}" in file.files:
                    labels = f"y{suffix}"
                    return file[f"x{suffix}"], file[labels] if labels in file.files else None
    except UNREADABLE as error:
        raise ProgramError(f"{path.name} cannot be read as npz or npy: {error}") from error
    raise ProgramError(f"{path.name}: expected an array x or x_test, found {', '.join(file.files)}")
