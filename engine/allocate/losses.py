"""From a sensitivity report to the loss that each layer costs at each width."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.curvature.ranking import PARTLY, stands_clear
from engine.errors import InvalidSpec
from engine.specs.planned import LayerSensitivity, SensitivitySection, WidthLoss

Predictor = Literal["trace", "quadratic", "measured"]
Form = Literal["trace", "quadratic"]
NARROW = 4  # bits, up to which roundings cost enough to be measured if the samples allow it at all
ENOUGH = 0.5  # share of narrow roundings that must stand clear: 8 of 9 do on Braille, 1 of 9 on digits


def layer_losses(
    sensitivity: SensitivitySection, widths: Sequence[int], predictor: Literal["auto", "trace", "quadratic", "measured"]
) -> tuple[NDArray[np.float64], Predictor]:
    """Loss increase per layer and width, non-negative and never rising with bits.

    ``trace``: the report's ``½·trace/N·‖δW‖²``. ``quadratic``: its ``gᵀδW + ½·δWᵀHδW``, 0 where that is negative.
    ``measured``: the increase that was measured with the layer alone
    rounded, where it is at least its own standard error. Below that it is noise, and all that the measurement says is
    "less than an error": there the smaller of that error and the prediction stands in (the better of the two forms),
    the latter multiplied by the median ratio of measured to predicted increase over all that stands clear. It still
    ranks layers where roundings are too fine to measure, and where a quadratic form is at its best. ``auto``:
    measured where every layer and width was measured and at least half of the roundings to 4 bits or less stand
    clear (a network that hardly errs on the samples tells little but noise), else the quadratic form where it was
    found to rank better than the trace, else the trace.

    Both are then projected onto sequences that do not rise with bits (least squares, pool adjacent violators). More
    levels at an MSE-optimal scale do not hurt but by sampling noise and spikes that flip at random; left in, such a
    bump would let the integer program pick a narrow width for its luck.

    Args:
        sensitivity: the report's section; its widths must contain ``widths``.
        widths: candidate bits, ascending.
        predictor: which number to use.

    Returns:
        (losses ``[layer, width]`` in nats, the predictor that was used).

    Raises:
        InvalidSpec: ``invalid_step`` where a width was not analysed, or not measured though ``measured`` is asked for.
    """
    rows = [[_of_width(layer, bits) for bits in widths] for layer in sensitivity.layers]
    measured_all = all(cell.measured is not None for row in rows for cell in row)
    if predictor == "measured" and not measured_all:
        raise InvalidSpec(
            "invalid_step",
            "allocate: predictor 'measured' needs a sensitivity step with measure 'on' (auto measures up to 20 layers)",
            "/allocate/predictor",
        )
    cells = [cell for row in rows for cell in row]
    form: Form = _better_form(sensitivity) if predictor == "auto" or predictor == "measured" else predictor
    if form == "quadratic" and any(cell.quadratic is None for cell in cells):
        raise InvalidSpec(
            "invalid_step",
            "allocate: the sensitivity step holds no quadratic forms",
            "/allocate/predictor",
        )
    narrow = [cell for cell in cells if cell.bits <= max(NARROW, min(widths))]
    usable = measured_all and sum(map(_stands_clear, narrow)) >= ENOUGH * len(narrow)
    used: Predictor = "measured" if predictor == "measured" or (predictor == "auto" and usable) else form
    ratio = _measured_over_predicted(cells, form)
    factor = 1.0 if ratio is None else ratio
    losses = [
        [_measured_loss(cell, form, factor) if used == "measured" else _predicted(cell, form) for cell in row]
        for row in rows
    ]
    return np.array([non_increasing(row) for row in losses], dtype=np.float64), used


def caution(sensitivity: SensitivitySection, predictor: Predictor) -> str | None:
    """What a reader of the plan has to know of the prediction that it was made from; None: nothing.

    Args:
        sensitivity: with both predictions' rank correlations with the measurement, where there is one.
        predictor: that was used.
    """
    if predictor == "measured":
        return None
    found = sensitivity.by_trace if predictor == "trace" else sensitivity.by_quadratic
    name = "trace" if predictor == "trace" else "quadratic form"
    if found.rank_correlation is None or sensitivity.holds == "unknown":
        return f"Whether the {name} ranks the roundings of this network could not be checked by measurement."
    if found.rank_correlation < PARTLY:
        return (
            f"The {name} does not rank the roundings of this network as they were measured before any fine-tuning "
            f"(rank correlation {found.rank_correlation:.2f})."
        )
    return None


def non_increasing(values: Sequence[float]) -> list[float]:
    """The non-increasing sequence nearest to ``values`` in least squares.

    Source: pool adjacent violators (Ayer et al. 1955): neighbours in the wrong order share their mean.

    Example:
        >>> non_increasing([5.0, 1.0, 3.0, 0.0])
        [5.0, 2.0, 2.0, 0.0]
    """
    pools: list[tuple[float, int]] = []  # mean, length
    for value in values:
        mean, length = float(value), 1
        while pools and pools[-1][0] < mean:
            before, count = pools.pop()
            mean, length = (before * count + mean * length) / (count + length), count + length
        pools.append((mean, length))
    return [mean for mean, length in pools for _ in range(length)]


def _of_width(layer: LayerSensitivity, bits: int) -> WidthLoss:
    for cell in layer.widths:
        if cell.bits == bits:
            return cell
    known = ", ".join(str(cell.bits) for cell in layer.widths)
    raise InvalidSpec(
        "invalid_step",
        f"allocate: width {bits} was not analysed for layer {layer.layer!r}; the sensitivity step has {known}",
        "/allocate/widths",
    )


def _better_form(sensitivity: SensitivitySection) -> Form:
    return "quadratic" if sensitivity.holds == "quadratic" else "trace"


def _predicted(cell: WidthLoss, form: Form) -> float:
    value = cell.predicted if form == "trace" else cell.quadratic
    return max(value or 0.0, 0.0)


def _measured_over_predicted(cells: Sequence[WidthLoss], form: Form) -> float | None:
    """Median ratio over the cells that stand clear of their noise; None where there are none."""
    ratios = [(c.measured or 0.0) / _predicted(c, form) for c in cells if _stands_clear(c) and _predicted(c, form) > 0]
    return median(ratios) if ratios else None


def _stands_clear(cell: WidthLoss) -> bool:
    return cell.measured is not None and stands_clear(cell.measured, cell.measured_error)


def _measured_loss(cell: WidthLoss, form: Form, factor: float) -> float:
    measured, error = cell.measured or 0.0, cell.measured_error or 0.0
    if measured > 0 and measured >= error:
        return measured
    return min(_predicted(cell, form) * factor, error)
