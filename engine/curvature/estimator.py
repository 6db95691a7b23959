"""The one form of a trace estimator, and the registry of them by quantity.

A faster engine for the same quantity (tangents, PERFORMANCE section 0) takes the place of an entry; it may set
``exact`` where a layer needs no probes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from engine.curvature.objective import Objective


@dataclass(frozen=True)
class StopRule:
    """When to stop: every layer's standard error is below ``relative_error`` of its trace, or a cap is reached.

    ``min_probes`` are always done. A run that ``max_seconds`` ended cannot be repeated from its seed alone; its number
    of probes, given as ``max_probes``, repeats it.
    """

    relative_error: float = 0.05
    min_probes: int = 8
    max_probes: int = 256
    max_seconds: float | None = None


@dataclass(frozen=True)
class LayerTrace:
    """Trace of one weight layer's block of the curvature of the mean loss.

    ``standard_error`` is over probes (0 where ``exact``); ``converged`` says whether it met the asked relative error.
    """

    layer: str
    trace: float
    standard_error: float
    probes: int
    converged: bool
    exact: bool = False


class Progress(Protocol):
    """The part of the engine's events that a long computation needs; it may raise to interrupt."""

    def progress(self, stage: str, done: int, total: int, message: str = "", **metrics: float) -> None:
        """Say how far a stage is."""


class TraceEstimator(Protocol):
    """Traces of all weight layers at once, in the network's order."""

    def __call__(
        self, objective: Objective, stop: StopRule, generator: torch.Generator, events: Progress
    ) -> tuple[LayerTrace, ...]:
        """Estimate, drawing from ``generator`` alone."""
