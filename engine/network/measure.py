"""Running a prepared network over a split, in batches that fit in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.data.batches import Split
from engine.network.model import INPUT
from engine.network.simulate import Prepared, run

BATCH_BYTES = 256 << 20  # currents and spikes of one batch; keeps an evaluation well under 2 GiB resident
LARGEST_BATCH = 256


@dataclass(frozen=True)
class Activity:
    """Readout ``[sample, output]`` and, per layer, each neuron's firing.

    ``rates``: spikes per step. ``busy``: share of the steps with at least one spike; under ``@input`` the share of the
    steps in which each input value is not zero.
    """

    counts: NDArray[np.float64]
    rates: dict[str, NDArray[np.float64]]
    busy: dict[str, NDArray[np.float64]]


def batch_size(prepared: Prepared, steps: int, inputs: int) -> int:
    """Samples in a batch so that the largest layer's arrays, and the input, stay within ``BATCH_BYTES``."""
    widest = max(prod(stage.shape) for stage in prepared.stages)
    row = steps * max(4 * widest, inputs) * torch.finfo(prepared.dtype).bits // 8
    return max(1, min(LARGEST_BATCH, BATCH_BYTES // max(row, 1)))


def measure(
    prepared: Prepared, split: Split, progress: Callable[[int, int], None] = lambda done, total: None
) -> Activity:
    """Run all samples of a split.

    Args:
        prepared: float or integer network.
        split: samples ``[sample, time, ...]``.
        progress: called with (samples done, samples in all).
    """
    steps = split.x.shape[1]
    spikes = {stage.name: torch.zeros(stage.shape, dtype=torch.float64) for stage in prepared.stages}
    active = {name: torch.zeros_like(total) for name, total in spikes.items()}
    entering = np.zeros(split.x.shape[2:])
    counts: list[Tensor] = []
    for x, _ in split.batches(batch_size(prepared, steps, prod(split.x.shape[2:]))):
        with torch.no_grad():
            trace = run(prepared, torch.as_tensor(x, device=prepared.device), record="*")
        counts.append(trace.counts.cpu())
        entering += np.count_nonzero(x, axis=(0, 1))
        for name, fired in trace.spikes.items():
            spikes[name] += fired.sum((0, 1), dtype=torch.float64).cpu()
            active[name] += (fired > 0).sum((0, 1)).cpu()
        progress(sum(len(c) for c in counts), len(split))
    total = len(split) * steps
    return Activity(
        counts=torch.cat(counts).double().numpy(),
        rates={name: (value / total).flatten().numpy() for name, value in spikes.items()},
        busy={
            INPUT: (entering / total).reshape(-1),
            **{name: (value / total).flatten().numpy() for name, value in active.items()},
        },
    )


def readouts(prepared: Prepared, split: Split) -> NDArray[np.float64]:
    """The readout of every sample ``[sample, output]`` alone, as :func:`measure` finds it, activity left out."""
    size = batch_size(prepared, split.x.shape[1], prod(split.x.shape[2:]))
    with torch.no_grad():
        parts = [run(prepared, torch.as_tensor(x, device=prepared.device)).counts.cpu() for x, _ in split.batches(size)]
    return torch.cat(parts).double().numpy()
