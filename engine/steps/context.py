"""What steps hand to each other, and what they may use of the world outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from engine.data.batches import Dataset
from engine.data.traces import Traces
from engine.network.graph import Graph
from engine.network.model import Network
from engine.program.program import IntegerProgram
from engine.program.quantized import Parameters, QuantizedForm
from engine.specs.job import Job
from engine.specs.plan import Plan
from engine.specs.report import DynamicsChoice, Section


class Events(Protocol):
    """What the engine tells whoever runs it."""

    def progress(self, stage: str, done: int, total: int, message: str = "", **metrics: float) -> None:
        """Where the run is."""

    def checkpoint(self, path: Path) -> None:
        """A complete checkpoint file; returns once it is safe."""

    def log(self, message: str) -> None:
        """A line for the log."""


@dataclass(frozen=True)
class ArtifactFile:
    """A file below the output folder."""

    role: str
    path: str
    media_type: str


@dataclass(frozen=True)
class Context:
    """What is the same for all steps of a job.

    ``expected_counts`` ``[test sample, output]`` or None; ``expected_traces``: spikes inside the network, or None.
    ``saved`` is the state that an earlier attempt left in its last checkpoint, for the step at index ``saved_step``.
    """

    job: Job
    out: Path
    events: Events
    device: torch.device
    expected_counts: NDArray[np.int64] | None = None
    expected_traces: Traces | None = None
    saved: Mapping[str, Any] | None = None
    saved_step: int = -1


@dataclass(frozen=True)
class Measured:
    """Outcome of running one network over the test split; needed to compare two."""

    counts: NDArray[Any]  # [sample, output]
    right: NDArray[np.bool_]  # [sample]
    rates: dict[str, NDArray[np.float64]]  # layer → spikes per step of each neuron


@dataclass(frozen=True)
class Work:
    """What steps pass on; each returns a new one.

    ``graph`` is the upload and never changes; ``network`` is its discrete form. ``data`` has a validation split unless
    the file held the test split alone.
    """

    graph: Graph
    network: Network
    data: Dataset
    plan: Plan | None = None
    quantized: tuple[QuantizedForm, Parameters] | None = None
    program: IntegerProgram | None = None
    measured: Mapping[str, Measured] = field(default_factory=dict)
    sections: tuple[Section, ...] = ()
    artifacts: tuple[ArtifactFile, ...] = ()
    validation_source: Literal["given", "stratified from train", "none"] = "none"
    dynamics_choice: DynamicsChoice | None = None
    index: int = 0
