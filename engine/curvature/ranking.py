"""Does a prediction rank (layer, width) pairs as the measurement does; said in one honest sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.specs.planned import LayerSensitivity, Prediction, WidthLoss

RANKED_WIDTHS = (4, 3, 2)  # over 8..2 bits every prediction looks good: the bits themselves rank (QUALITY finding 3)
HOLDS, PARTLY = 0.8, 0.5
MIN_PAIRS = 3
TRACE, QUADRATIC = "by the trace", "the quadratic form of the actual rounding"
WITHIN = 0.8  # share of the clear pairs below which sizes are said not to hold
CLEAR = 2.0  # standard errors above zero from which a measured increase can be compared in size
Holds = Literal["trace", "quadratic", "neither", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """Both predictions against the measurement; ``trivial`` is the rank correlation of ``‖δW‖²`` alone."""

    by_trace: Prediction
    by_quadratic: Prediction
    trivial: float | None
    holds: Holds
    statement: str


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


def judge_predictions(layers: Sequence[LayerSensitivity]) -> Verdict:
    """How well the trace's and the quadratic form's predictions do what was measured, at 4, 3 and 2 bits.

    Args:
        layers: with or without measured increases.

    Returns:
        Both, compared; which one to rely on (``neither`` below a rank correlation of 0.5, ``unknown`` where fewer than
        three increases stand clear of their noise: ranks of noise say nothing); a sentence for the report.
    """
    cells = [c for layer in layers for c in layer.widths if c.bits in RANKED_WIDTHS and c.measured is not None]
    if not cells:
        statement = "Nothing was measured: whether the prediction holds on this network is not known."
        return Verdict(Prediction(), Prediction(), None, "unknown", statement)
    trace = _compare(cells, lambda cell: cell.predicted)
    quadratic = _compare([c for c in cells if c.quadratic is not None], lambda cell: cell.quadratic or 0.0)
    trivial = rank_correlation([c.squared_distance for c in cells], [c.measured or 0.0 for c in cells])
    if trace.rank_correlation is None:
        statement = (
            f"{len(cells)} (layer, width) pairs at 4, 3 and 2 bits are too few or too alike to judge the prediction."
        )
        return Verdict(trace, quadratic, trivial, "unknown", statement)
    if trace.clear_pairs < MIN_PAIRS:
        return Verdict(trace, quadratic, trivial, "unknown", _noise(trace, quadratic, trivial))
    holds = _better(trace, quadratic)
    return Verdict(trace, quadratic, trivial, holds, _sentence(trace, quadratic, trivial, holds))


def stands_clear(measured: float, error: float | None) -> bool:
    """Whether an increase is beyond doubt: two standard errors above zero; one without an error (one sample) never is.

    Example:
        >>> stands_clear(1.0, 0.4), stands_clear(1.0, 0.6), stands_clear(1.0, None)
        (True, False, False)
    """
    return error is not None and measured > max(CLEAR * error, 0.0)


def _compare(cells: Sequence[WidthLoss], predict: Callable[[WidthLoss], float]) -> Prediction:
    measured = [cell.measured or 0.0 for cell in cells]
    clear = [
        predict(cell) / cell.measured
        for cell in cells
        if cell.measured is not None and stands_clear(cell.measured, cell.measured_error)
    ]
    return Prediction(
        rank_correlation=rank_correlation([predict(cell) for cell in cells], measured),
        calibration=median(clear) if clear else None,
        within_ten=sum(0.1 <= ratio <= 10 for ratio in clear) / len(clear) if clear else None,
        pairs=len(cells),
        clear_pairs=len(clear),
    )


def _better(trace: Prediction, quadratic: Prediction) -> Holds:
    ours = trace.rank_correlation if trace.rank_correlation is not None else -1.0
    other = quadratic.rank_correlation if quadratic.rank_correlation is not None else -1.0
    if max(ours, other) < PARTLY:
        return "neither"
    return "quadratic" if other > ours else "trace"


def _sentence(trace: Prediction, quadratic: Prediction, trivial: float | None, holds: Holds) -> str:
    """Of the better of the two predictions, the other beside it."""
    other = quadratic.rank_correlation
    ahead = other is not None and other > (trace.rank_correlation or 0.0)
    better, name = (quadratic, QUADRATIC) if ahead else (trace, TRACE)
    ours = better.rank_correlation or 0.0
    verdict = "holds" if ours >= HOLDS else "holds in part" if ours >= PARTLY else "does not hold"
    second = ""
    if other is not None:
        second = (
            f"; {TRACE}: {trace.rank_correlation or 0.0:.2f}" if better is quadratic else f"; {QUADRATIC}: {other:.2f}"
        )
    rivals = "" if trivial is None else f"; ‖δW‖² alone: {trivial:.2f}"
    sentence = (
        f"The predicted ranking {verdict} on this network: rank correlation {ours:.2f} ({name}) with the measured "
        f"increase over {better.pairs} (layer, width) pairs at 4, 3 and 2 bits{second}{rivals}"
    )
    if trivial is not None and trivial >= ours:
        sentence += ", so that it is no better than the size of the rounding itself"
    sentence += _size(better)
    if holds == "neither":
        sentence += "; do not rely on the predictions here, use the measured increases"
    return f"{sentence}."


def _noise(trace: Prediction, quadratic: Prediction, trivial: float | None) -> str:
    """Where the measurement itself cannot rank."""
    found = ((TRACE, trace.rank_correlation), (QUADRATIC, quadratic.rank_correlation), ("‖δW‖² alone", trivial))
    ranks = "; ".join(f"{name}: {value:.2f}" for name, value in found if value is not None)
    clear = {0: "no measured increase is", 1: f"only 1 of {trace.pairs} measured increases is"}.get(
        trace.clear_pairs, f"only {trace.clear_pairs} of {trace.pairs} measured increases are each"
    )
    return (
        f"Whether the predicted ranking holds on this network cannot be told: {clear} above twice its standard error "
        f"at 4, 3 and 2 bits, and ranks of noise say nothing (rank correlation {ranks})."
    )


def _size(better: Prediction) -> str:
    """The middle ratio of predicted to measured, over what stands clear of its own noise."""
    if better.calibration is None or better.within_ten is None:
        return ""
    size = (
        f"; predicted is {better.calibration:.2g} times measured in the median of the {better.clear_pairs} pairs "
        "above noise"
    )
    if better.within_ten < WITHIN:
        size += f" and within a factor of ten in only {better.within_ten:.0%} of them: its size is not to be relied on"
    return size
