"""Does a prediction rank (layer, width) pairs as the measurement does; said in one honest sentence."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from engine.specs.report import LayerSensitivity, WidthLoss

RANKED_WIDTHS = (4, 3, 2)  # over 8..2 bits every prediction looks good: the bits themselves rank (QUALITY finding 3)
HOLDS, PARTLY = 0.8, 0.5
MIN_PAIRS = 3


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation, mean ranks for ties; None for fewer than three pairs or a constant side.

    Example:
        >>> rank_correlation([1.0, 2.0, 3.0], [10.0, 30.0, 20.0])
        0.5
    """
    if len(first) < MIN_PAIRS or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    return round(float(np.corrcoef(_ranks(first), _ranks(second))[0, 1]), 12)


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """Ranks from 1, ties share their mean; scipy.stats does the same and takes half a second to import."""
    _, place, number = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(number) - (number - 1) / 2)[place]
    return ranks


def judge_prediction(layers: Sequence[LayerSensitivity]) -> tuple[float | None, float | None, str]:
    """How well the trace's prediction ranks what was measured, at 4, 3 and 2 bits.

    Args:
        layers: with or without measured increases.

    Returns:
        (rank correlation of the prediction, that of ``‖δW‖²`` alone, a sentence for the report).
    """
    pairs = [
        (cell, cell.measured)
        for layer in layers
        for cell in layer.widths
        if cell.bits in RANKED_WIDTHS and cell.measured is not None
    ]
    if not pairs:
        return None, None, "Nothing was measured: whether the prediction holds on this network is not known."
    measured = [value for _, value in pairs]
    ours = rank_correlation([cell.predicted for cell, _ in pairs], measured)
    trivial = rank_correlation([cell.squared_distance for cell, _ in pairs], measured)
    if ours is None:
        sentence = (
            f"{len(pairs)} (layer, width) pairs at 4, 3 and 2 bits are too few or too alike to judge the prediction."
        )
        return ours, trivial, sentence
    return ours, trivial, f"{_ranking(len(pairs), ours, trivial)}{_size(pairs)}."


def _ranking(count: int, ours: float, trivial: float | None) -> str:
    verdict = "holds" if ours >= HOLDS else "holds in part" if ours >= PARTLY else "does not hold"
    versus = "" if trivial is None else f" (‖δW‖² alone: {trivial:.2f})"
    sentence = (
        f"The predicted ranking {verdict} on this network: rank correlation {ours:.2f} with the measured increase over "
        f"{count} (layer, width) pairs at 4, 3 and 2 bits{versus}"
    )
    if trivial is not None and trivial >= ours:
        sentence += ", no better than the size of the rounding itself"
    return sentence


def _size(pairs: list[tuple[WidthLoss, float]]) -> str:
    """The middle ratio of predicted to measured, over what stands clear of its own noise."""
    clear = [(cell.predicted, value) for cell, value in pairs if value > 2 * (cell.measured_error or 0.0) and value > 0]
    if not clear:
        return "; no measured increase is above twice its standard error"
    ratio = median(predicted / value for predicted, value in clear)
    return f"; predicted is {ratio:.2g} times measured in the median of the {len(clear)} pairs above noise"
