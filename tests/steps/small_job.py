"""A small recurrent network with four easy classes, and the whole engine on it."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine.data.frames import canonicalise_frames
from engine.errors import EngineError
from engine.network.canonical import write_canonical
from engine.network.graph import Graph
from engine.network.nodes import make_node
from engine.run import Inputs, Outcome, run
from engine.specs.dynamics import PRESETS
from engine.specs.job import JobRequest, resolve_job

OPTIONS = {
    "sensitivity": {"max_probes": 8, "max_samples": 32},
    "finetune": {"epochs": 4, "batch_size": 16},
    "integerize": {"golden_samples": 4},
}


@dataclass
class Listener:
    """Keeps what the engine says; may stop it at the n-th checkpoint."""

    folder: Path
    stop_at: int | None = None
    stages: list[str] = field(default_factory=list)
    checkpoints: list[Path] = field(default_factory=list)

    def progress(self, stage: str, done: int, total: int, message: str = "", **metrics: float) -> None:
        self.stages.append(stage)

    def checkpoint(self, path: Path) -> None:
        kept = self.folder / f"checkpoint-{len(self.checkpoints)}"
        shutil.copy(path, kept)
        self.checkpoints.append(kept)
        if self.stop_at is not None and len(self.checkpoints) == self.stop_at:
            raise EngineError("cancelled", "stopped by the test")

    def log(self, message: str) -> None:
        self.stages.append(message)


def write_inputs(folder: Path) -> Inputs:
    """The network and its data in canonical form; beside them data with fractions, and the test split alone."""
    rng = np.random.default_rng(4)
    ones = np.ones(16)
    neuron = {"tau": 1e-3 * ones, "r": 10 * ones, "v_leak": 0 * ones, "v_threshold": ones}
    out = {name: value[:4] for name, value in neuron.items()}
    nodes = {
        "input": make_node("input", "Input", {"shape": [12]}),
        "fc1": make_node("fc1", "Affine", {"weight": rng.normal(size=(16, 12)) * 0.5, "bias": 0.02 * ones}),
        "hid": make_node("hid", "LIF", neuron),
        "rec": make_node("rec", "Linear", {"weight": rng.normal(size=(16, 16)) * 0.1}),
        "fc2": make_node("fc2", "Linear", {"weight": rng.normal(size=(4, 16)) * 0.5}),
        "out": make_node("out", "LIF", out),
        "output": make_node("output", "Output", {"shape": [4]}),
    }
    chain = ("input", "fc1", "hid", "fc2", "out", "output")
    edges = (*itertools.pairwise(chain), ("hid", "rec"), ("rec", "hid"))
    write_canonical(Graph(nodes, edges), folder / "model")
    arrays: dict[str, Any] = {}
    for split, count in (("train", 80), ("test", 40)):
        y = np.arange(count) % 4
        rate = np.full((count, 12), 0.1)
        for k in range(3):
            rate[np.arange(count), 3 * y + k] = 0.7
        arrays[f"x_{split}"] = (rng.random((count, 15, 12)) < rate[:, None]).astype(np.uint8)
        arrays[f"y_{split}"] = y
    np.savez(folder / "frames.npz", **arrays)
    canonicalise_frames(folder / "frames.npz", folder / "data.npz")
    np.savez(folder / "bare.npz", **{name: value for name, value in arrays.items() if name != "y_train"})
    canonicalise_frames(folder / "bare.npz", folder / "bare-data.npz")
    arrays["x_train"] = arrays["x_train"] * 0.5
    np.savez(folder / "fractions.npz", **arrays)
    canonicalise_frames(folder / "fractions.npz", folder / "fractions-data.npz")
    np.savez(folder / "test.npz", x_test=arrays["x_test"], y_test=arrays["y_test"])
    canonicalise_frames(folder / "test.npz", folder / "test-data.npz")
    return Inputs(folder / "model", folder / "data.npz")


def go(
    inputs: Inputs, out: Path, listener: Listener | None = None, resume: Path | None = None, **request: Any
) -> Outcome:
    out.mkdir(parents=True, exist_ok=True)
    request = {"recipe": "hessian-mixed", "options": OPTIONS, **request}
    job = resolve_job(JobRequest(model="m", dataset="d", **request), PRESETS["nir-paper"])
    return run(job, inputs, out, listener or Listener(out), resume)


def section(outcome: Outcome, kind: str) -> Any:
    return next(s for s in outcome.report.sections if s.kind == kind)
