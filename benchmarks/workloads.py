"""The two workloads on which speed is compared: their data, shapes and starting weights; NumPy alone.

A is convolutional, B a perceptron of the size that spoken digits take. Both have LIF neurons
``u_t = 0.9·u_{t−1} + a_t − s_{t−1}``, ``s = [u > 1]`` (reset delayed and detached, arctan surrogate), and a leaky
integrator as readout; logits are the mean of its membrane over time. Samples are class-structured: every class has its
own pattern of rates. All contestants load the same weights (an npz file), trained briefly by
:mod:`benchmarks.contestants.ours`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DECAY, THRESHOLD = 0.9, 1.0
DATASETS = Path(__file__).resolve().parents[2] / "shared" / "data" / "datasets"
Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Workload:
    """Input ``[steps, batch, *input_shape]`` of 0 and 1; ``layers`` name → weight shape, ``[out, in, row, column]``."""

    name: str
    steps: int
    batch: int
    input_shape: tuple[int, ...]
    density: float
    classes: int
    layers: dict[str, tuple[int, ...]]
    stride: int = 2  # of the convolutions
    recordings: str | None = None  # the file of real data that takes the place of drawn samples


A = Workload(
    "A", 20, 64, (2, 34, 34), 0.03, 10,
    {"conv1": (16, 2, 5, 5), "conv2": (32, 16, 3, 3), "fc1": (256, 1568), "fc2": (10, 256)},
)  # fmt: skip
B = Workload("B", 100, 128, (700,), 0.015, 20, {"fc1": (256, 700), "fc2": (256, 256), "fc3": (20, 256)})
WORKLOADS = {"A": A, "B": B}
# The same networks on recordings of third parties (beside a development checkout): N-MNIST in frames of 10 ms, Braille
# letters read by a tactile sensor; the first steps of training samples.
A_NMNIST = replace(A, name="A-nmnist", recordings="nmnist_small_frames10ms")
B_BRAILLE = replace(
    B, name="B-braille", input_shape=(12,), classes=7, recordings="braille7",
    layers={"fc1": (256, 12), "fc2": (256, 256), "fc3": (7, 256)},
)  # fmt: skip
REAL_WORKLOADS = {"A-nmnist": A_NMNIST, "B-braille": B_BRAILLE}
ALL_WORKLOADS = {**WORKLOADS, **REAL_WORKLOADS}
_GAINS = {"A": {"conv1": 3.0, "conv2": 1.6, "fc1": 1.5, "fc2": 1.0}, "B": {"fc1": 4.0, "fc2": 2.0, "fc3": 1.0}}


def samples(workload: Workload, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A batch ``[steps, batch, *input_shape]`` and its labels ``[batch]``; the classes are the same for every seed."""
    if workload.recordings is not None:
        return _recorded(workload, seed)
    patterns = np.random.default_rng(1234).gamma(0.5, size=(workload.classes, *workload.input_shape))
    patterns *= workload.density / patterns.mean()
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, workload.classes, workload.batch)
    rates = np.clip(patterns[labels], 0.0, 0.5)
    x = draw.random((workload.steps, *rates.shape), dtype=np.float32) < rates
    return x.astype(np.uint8), labels.astype(np.int64)


def recordings_path(workload: Workload) -> Path:
    """Where a real workload's file is, or would be."""
    return DATASETS / f"{workload.recordings}.npz"


def _recorded(workload: Workload, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    with np.load(recordings_path(workload), allow_pickle=False) as file:
        x, y = file["x_train"], file["y_train"]
    chosen = np.random.default_rng(seed).choice(len(x), workload.batch, replace=False)
    frames = np.minimum(np.moveaxis(x[chosen, : workload.steps], 1, 0), 1)  # several spikes in a frame are one
    return np.ascontiguousarray(frames.astype(np.uint8)), y[chosen].astype(np.int64)


def first_weights(workload: Workload) -> Weights:
    """Normal weights, scaled so that every layer fires from the start."""
    draw = np.random.default_rng(99)
    found: Weights = {}
    for name, shape in workload.layers.items():
        size = _GAINS[workload.name[0]][name] / np.sqrt(np.prod(shape[1:]))
        found[name] = (draw.standard_normal(shape) * size).astype(np.float32)
    return found


def save_weights(path: Path, weights: Weights) -> None:
    """Write the npz file that contestants load."""
    np.savez(path, **weights)  # type: ignore[arg-type]


def load_weights(path: Path) -> Weights:
    """Read what :func:`save_weights` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return {name: np.asarray(file[name], dtype=np.float32) for name in file.files}
