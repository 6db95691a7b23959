"""The one form of a trace estimator, and the registry of them by quantity."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
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
class Clock:
    """Seconds since a long computation began."""

    start: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.start


@dataclass(frozen=True)
class LayerTrace:
    """Trace of one weight layer's block of the curvature of the mean loss.

    ``standard_error`` is over probes (0 where ``exact_share`` is 1); ``converged`` says whether it met the asked
    error, relative to the larger of ``|trace|`` and ``gauss_newton`` (the trace of G, which no cancellation makes
    small). ``exact_share`` is the part of ``Σ|terms|`` that no probe estimated. ``channels`` ``[out]`` are the traces
    of the output channels, with their standard errors; empty where they were not asked for.
    """

    layer: str
    trace: float
    standard_error: float
    probes: int
    converged: bool
    exact_share: float
    gauss_newton: float
    channels: tuple[float, ...] = ()
    channel_errors: tuple[float, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether no probe was needed."""
        return self.exact_share == 1.0


class Progress(Protocol):
    """The part of the engine's events that a long computation needs; it may raise to interrupt."""

    def progress(self, stage: str, done: int, total: int, message: str = "", **metrics: float) -> None:
        """Say how far a stage is."""


class TraceEstimator(Protocol):
    """Traces of all weight layers at once, in the network's order."""

    def __call__(
        self,
        objective: Objective,
        stop: StopRule,
        seed: int,
        events: Progress,
        dtype: torch.dtype = torch.float64,
        *,
        channels: bool = ...,
    ) -> tuple[LayerTrace, ...]:
        """Estimate; all randomness comes from ``seed``."""
