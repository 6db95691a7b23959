"""Step sizes from weights alone: by largest magnitude, by a percentile of the magnitudes, or by squared error."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from engine.quantizers.form import level_range
from engine.quantizers.mse import mse_scale

Scale = Callable[[Tensor, int, int | None], Tensor]  # weight, bits, axis → step


def max_scale(weight: Tensor, bits: int, axis: int | None = None) -> Tensor:
    """``max|W| / (2^(b−1)−1)``: nothing is clipped.

    Args:
        weight: ``[out, in, ...]``, real and finite.
        bits: width, 1 to 16.
        axis: axis with a scale of its own, or None for one scale.

    Returns:
        Positive step as :func:`engine.quantizers.mse.mse_scale` shapes it.

    Example:
        >>> max_scale(torch.tensor([[-7.0, 3.5]]), 4).item()
        1.0
    """
    return percentile_scale(weight, bits, axis, 100.0)


def percentile_scale(weight: Tensor, bits: int, axis: int | None = None, percentile: float = 99.0) -> Tensor:
    """The percentile of ``|W|`` (linear between ranks) over ``2^(b−1)−1``: what lies above is clipped.

    A row of zeros takes the layer's step; so does one whose percentile is 0.

    Args:
        weight: ``[out, in, ...]``, real and finite.
        bits: width, 1 to 16.
        axis: axis with a scale of its own, or None for one scale.
        percentile: above 0, at most 100.

    Raises:
        ValueError: the percentile is out of range.
        InvalidSpec: ``invalid_plan`` for a width outside 1..16.

    Example:
        >>> percentile_scale(torch.tensor([[0.0, 1.0, 2.0, 3.0, 100.0]]), 2, None, 75.0).item()
        3.0
    """
    if not 0 < percentile <= 100:
        raise ValueError(f"expected a percentile above 0 and at most 100, got {percentile}")
    top = level_range(bits)[1]
    magnitude = weight.detach().to(torch.float64).abs()
    rows = magnitude.reshape(1, -1) if axis is None else magnitude.movedim(axis, 0).reshape(weight.shape[axis], -1)
    position = (rows.shape[1] - 1) * percentile / 100
    ranked = rows.sort(1).values  # torch.quantile is limited to 16 million numbers
    low = int(position)
    high = min(low + 1, rows.shape[1] - 1)
    found = ranked[:, low] + (position - low) * (ranked[:, high] - ranked[:, low])
    fallback = rows.max() if bool(rows.any()) else torch.ones((), dtype=torch.float64, device=rows.device)
    step = (torch.where(found > 0, found, fallback) / top).to(weight.dtype).clamp_min(torch.finfo(weight.dtype).tiny)
    if axis is None:
        return step.reshape(())
    return step.reshape([-1 if dim == axis % weight.dim() else 1 for dim in range(weight.dim())])


def calibration(name: str, percentile: float) -> Scale:
    """The rule of a name; ``second_order`` begins at the MSE-optimal steps and goes on from there.

    Raises:
        KeyError: there is no such rule.
    """
    rules: dict[str, Scale] = {
        "second_order": mse_scale,
        "mse": mse_scale,
        "max": max_scale,
        "percentile": lambda weight, bits, axis: percentile_scale(weight, bits, axis, percentile),
    }
    return rules[name]
