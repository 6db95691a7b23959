"""Detection with ``loihi-qat`` programs: ``python -m examples.spectrum.compare`` prints the table of the README.

Score of a sample: output spikes of *busy* less those of *idle*. Detection is the share of busy test samples above the
threshold that 10 % of the idle ones pass; area is under the receiver's curve. The energy detector sees the energies
themselves, not spikes. Programs are what the recipe makes at 8, 6 and 4 bits, with a random half of the layers
quantized at the start and with all of them, at equal epochs; their spikes are those of the runtime that reads the
written folder.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import runtime
from engine.data.frames import canonicalise_frames
from engine.network.canonical import write_canonical
from engine.network.nir_reader import read_nir
from engine.network.prepare import prepare
from engine.run import Inputs, run
from engine.specs.dynamics import PRESETS
from engine.specs.job import JobRequest, resolve_job
from examples.frames_file import write_frames
from examples.spectrum import data

NETWORK = Path(__file__).resolve().parent / "spectrum.nir"
FALSE_ALARMS = 0.1
BITS = (8, 6, 4)
PROBABILITIES = (0.5, 1.0)

Real = NDArray[np.float64]


class _Silent:
    def progress(self, stage: str, done: int, total: int, message: str = "", **metrics: float) -> None:
        """Ignored."""

    def checkpoint(self, path: Path) -> None:
        """Ignored."""

    def log(self, message: str) -> None:
        """Ignored."""


def detection(score: Real, busy: NDArray[np.bool_], rate: float = FALSE_ALARMS) -> float:
    """Share of busy samples found where ``rate`` of the idle ones raise an alarm; ties: broken at random.

    Example:
        >>> detection(np.array([0.0, 1.0, 2.0, 3.0]), np.array([False, False, True, True]), 0.5)
        1.0
    """
    false, true = _curve(score, busy)
    return float(np.interp(rate, false, true))


def area(score: Real, busy: NDArray[np.bool_]) -> float:
    """Area under the receiver's curve.

    Example:
        >>> area(np.array([0.0, 1.0, 1.0, 3.0]), np.array([False, False, True, True]))
        0.875
    """
    false, true = _curve(score, busy)
    return float(np.trapezoid(true, false))


def _curve(score: Real, busy: NDArray[np.bool_]) -> tuple[Real, Real]:
    """False and true alarms by falling threshold, from (0, 0) to (1, 1); equal scores are one straight piece."""
    levels = np.unique(score)[::-1]
    false = [0.0, *(float((score[~busy] >= level).mean()) for level in levels)]
    true = [0.0, *(float((score[busy] >= level).mean()) for level in levels)]
    return np.asarray(false), np.asarray(true)


def quantize(folder: Path, bits: int, probability: float, epochs: int | None = None) -> tuple[Path, dict[str, Any]]:
    """The recipe's program under ``folder``, and the numbers of its report."""
    job = resolve_job(
        JobRequest(
            model="m",
            dataset="d",
            recipe="loihi-qat",
            options={
                "allocate": {"widths": [bits]},
                "finetune": {"layer_probability": probability, "float_control": False, "epochs": epochs},
            },
        ),
        PRESETS["nir-paper"],
    )
    out = folder / f"{bits}-{probability}"
    out.mkdir()
    report = run(job, Inputs(folder / "model", folder / "data.npz"), out, _Silent()).report
    program = next(section for section in report.sections if section.kind == "integerize")
    return out / "program", {"mismatched": program.mismatched_spikes, "reduction": program.reduction}


def write_inputs(folder: Path, arrays: dict[str, NDArray[np.generic]]) -> None:
    """Canonical network and data."""
    write_canonical(read_nir(NETWORK), folder / "model")
    canonicalise_frames(write_frames(folder / "frames.npz", arrays), folder / "data.npz")


def float_scores(x: NDArray[np.generic]) -> Real:
    """Scores of the float network."""
    from engine.data.batches import Split
    from engine.network.discretise import discretise
    from engine.network.measure import measure

    network = discretise(read_nir(NETWORK), PRESETS["nir-paper"])
    counts = measure(prepare(network), Split(np.asarray(x), np.zeros(len(x), np.int64))).counts
    scores: Real = (counts[:, 1] - counts[:, 0]).astype(np.float64)
    return scores


def program_scores(program: Path, x: NDArray[np.generic]) -> Real:
    """Scores of a written program, by the NumPy runtime."""
    counts = runtime.run(runtime.read_program(program), np.asarray(x)).counts
    scores: Real = (counts[:, 1] - counts[:, 0]).astype(np.float64)
    return scores


def compare(epochs: int | None = None) -> list[tuple[str, float, float, float, int]]:
    """Rows: what, detection, area, reduction, spikes that differ from the training simulation."""
    signals = data.received()
    arrays = data.arrays()
    test, busy = signals["test"], signals["test"].busy == 1
    rows = []
    for name, score in (
        ("energy detector", test.energy.mean((1, 2, 3))),
        ("float network", float_scores(arrays["x_test"])),
    ):
        rows.append((name, detection(score, busy), area(score, busy), 0.0, 0))
    with tempfile.TemporaryDirectory(prefix="spikebit-spectrum-") as made:
        folder = Path(made)
        write_inputs(folder, arrays)
        for bits in BITS:
            for probability in PROBABILITIES:
                program, facts = quantize(folder, bits, probability, epochs)
                score = program_scores(program, arrays["x_test"])
                name = f"{bits} bit, layers quantized with probability {probability:g} at first"
                rows.append((name, detection(score, busy), area(score, busy), facts["reduction"], facts["mismatched"]))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Detection of float network, programs and an energy detector.")
    parser.add_argument("--epochs", type=int, default=None, help="of each fine-tune; default: the recipe's")
    print(f"| | detection at {FALSE_ALARMS:.0%} false alarms | area | smaller by | spikes that differ |")
    print("| --- | --- | --- | --- | --- |")
    for name, found, under, smaller, differing in compare(parser.parse_args().epochs):
        print(f"| {name} | {100 * found:.1f} % | {under:.3f} | {100 * smaller:.1f} % | {differing} |")
