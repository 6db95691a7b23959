"""What numbers of sweeps of its own for every sample (Neyman 1934) would bring, from all sweeps that there are.

With orthogonal signs a sample's sweeps are a finite population, and once all are known so is the error of any
allocation. Three are compared: the same number for all, as the engine does; what the true spreads ask for; and what
spreads from a pilot of two sweeps ask for, half of each taken from the mean over samples, redrawn ``DRAWS`` times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PILOT, DRAWS = 2, 10
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Allocation:
    """Sweeps per sample, and the largest error over the asked one."""

    sweeps: float
    error: float

    @property
    def equal(self) -> float:
        """Sweeps that would have the asked error, which falls with their root."""
        return self.sweeps * self.error**2


def compare(units: Floats, asked: float, seed: int = 0) -> dict[str, Allocation]:
    """``units`` ``[sweep, sample, layer]``, all sweeps of the population; ``asked``: relative standard error."""
    order, samples, _ = units.shape
    spread, trace, random = units.var(0, ddof=1), units.mean(0).sum(0), np.random.default_rng(seed)

    def errors(counts: Floats, variances: Floats) -> Floats:
        each = counts[:, None]
        found: Floats = np.sqrt((variances * (1 - each / order) / each).sum(0)) / trace / asked
        return found

    def allocate(variances: Floats, start: int) -> Floats:
        counts = np.full(samples, float(start))
        while (missed := errors(counts, variances)).max() > 1:
            gain = variances[:, missed.argmax()] / (counts * (counts + 1))
            counts[np.where(counts < order, gain, -1.0).argmax()] += 1
        return counts

    def told(counts: Floats) -> Allocation:
        return Allocation(float(counts.mean()), float(errors(counts, spread).max()))

    alike = next(k for k in range(1, order + 1) if errors(np.full(samples, float(k)), spread).max() <= 1)
    piloted = []
    for _ in range(DRAWS):
        rows = np.stack([random.permutation(order)[:PILOT] for _ in range(samples)], 1)
        guess = np.take_along_axis(units, rows[:, :, None], 0).var(0, ddof=1)
        piloted.append(told(allocate((guess + guess.mean(0)) / 2, PILOT)))
    mean = Allocation(*(float(np.mean([getattr(p, name) for p in piloted])) for name in ("sweeps", "error")))
    return {"alike": told(np.full(samples, float(alike))), "true spreads": told(allocate(spread, 1)), "pilot": mean}
