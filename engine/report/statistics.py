"""Intervals and distances that the report states, each with its source."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from engine.specs.evaluated import Accuracy, Interval, LayerActivity

Z95 = 1.959963984540054  # two-sided 95 % of the normal distribution
RATE_EDGES = (0.0, 1e-9, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.95, math.inf)  # first bin: never fires
SATURATED = 0.95  # a neuron that fires in so many of its steps carries no information


def accuracy_of(correct: int, samples: int) -> Accuracy:
    """A fraction with Wilson's 95 % score interval (Wilson 1927).

    Raises:
        ValueError: no samples.

    Example:
        >>> a = accuracy_of(215, 224)
        >>> round(a.interval.low, 3), round(a.interval.high, 3)
        (0.925, 0.979)
    """
    if samples < 1:
        raise ValueError("an accuracy needs at least one sample")
    p, n, z = correct / samples, samples, Z95
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # p lies inside; at 0 and 1 it is an end, which rounding would put on the wrong side of it
    low, high = min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half))
    interval = Interval(low=low, high=high, method="Wilson score")
    return Accuracy(correct=correct, samples=samples, value=p, interval=interval)


def paired_drop(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> tuple[float, Interval]:
    """Drop in points between two classifiers on the same samples, with a paired 95 % interval.

    Source: Agresti & Min 2005, "Simple improved confidence intervals for comparing matched proportions" (Wald on the
    table with ½ added to each of its four cells).

    Args:
        before: was each sample right, ``[sample]``.
        after: the same for the other classifier.

    Example:
        >>> drop, interval = paired_drop(np.array([True] * 9 + [False]), np.array([True] * 8 + [False] * 2))
        >>> round(drop, 6), interval.low < 10 < interval.high
        (10.0, True)
    """
    n = len(before)
    lost = float(np.sum(before & ~after))
    gained = float(np.sum(~before & after))
    total, b, c = n + 2.0, lost + 0.5, gained + 0.5
    centre = (b - c) / total
    half = Z95 * math.sqrt(max(b + c - (b - c) ** 2 / total, 0.0)) / total
    interval = Interval(low=100 * (centre - half), high=100 * (centre + half), method="Agresti-Min, paired")
    return 100.0 * (lost - gained) / n, interval


def activity_of(layer: str, rates: NDArray[np.float64], busy: NDArray[np.float64]) -> LayerActivity:
    """Firing of one layer.

    Args:
        layer: its name.
        rates: spikes per step of each neuron over all samples, ``[neuron]``.
        busy: share of its steps in which each neuron fires at all, ``[neuron]``.
    """
    histogram, _ = np.histogram(rates, bins=np.asarray(RATE_EDGES))
    return LayerActivity(
        layer=layer,
        neurons=len(rates),
        firing_rate=float(rates.mean()) if len(rates) else 0.0,
        rate_histogram=tuple(int(n) for n in histogram),
        rate_edges=RATE_EDGES[:-1],
        dead=int(np.sum(rates == 0)),
        saturated=int(np.sum(busy >= SATURATED)),
    )


def wasserstein(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Wasserstein-1 distance between two equally large sets of firing rates: mean distance of the sorted values.

    Example:
        >>> float(wasserstein(np.array([0.0, 1.0]), np.array([1.0, 0.5])))
        0.25
    """
    return float(np.abs(np.sort(before) - np.sort(after)).mean()) if len(before) else 0.0
