"""Scales that minimise the squared rounding error: no data needed, the largest single effect on accuracy."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.quantizers.form import level_range

POINTS = 60  # of the search; QUALITY finding 1 measured with this grid
LEAST = 0.1  # smallest share of the maximum that is tried


def mse_scale(weight: Tensor, bits: int, axis: int | None = None) -> Tensor:
    """The scale on a grid that minimises ``‖W − s·round(W/s)‖²``.

    Source: QUALITY finding 1. ``s = c·max|W| / (2^(b−1)−1)`` with c on 60 evenly spaced points from 0.1 to 1,
    each channel by itself when ``axis`` is given; exact ties take the lowest c. At one bit (levels ±1) the
    minimiser is known in closed form, ``s = mean|W|``, and is used. Weights that are all zero fit any scale:
    such a channel takes the layer's ``max|W| / (2^(b−1)−1)``, such a layer takes 1.

    Args:
        weight: ``[out, in, ...]``, real and finite.
        bits: width, 1 to 16.
        axis: axis that has a scale of its own, or None for one scale.

    Returns:
        Positive scale in the weight's dtype: 0-d, or as long as ``weight`` along ``axis`` and 1 elsewhere.

    Raises:
        InvalidSpec: ``invalid_plan`` for a width outside 1..16.

    Example:
        >>> mse_scale(torch.tensor([[-7.0, 7.0, 1.0]]), 4).item()
        1.0
    """
    _, top = level_range(bits)
    exact = weight.detach().to(torch.float64)
    rows = exact.reshape(1, -1) if axis is None else exact.movedim(axis, 0).reshape(exact.shape[axis], -1)  # [row, n]
    largest = rows.abs().amax(dim=1)  # [row]
    fallback = largest.max() / top if bool(largest.any()) else torch.ones((), dtype=torch.float64, device=rows.device)
    best = rows.abs().mean(dim=1) if bits == 1 else _search(rows, largest, top)
    scale = torch.where(largest > 0, best, fallback).to(weight.dtype)
    scale = scale.clamp_min(torch.finfo(weight.dtype).tiny)  # a subnormal maximum must not become a scale of zero
    if axis is None:
        return scale.reshape(())
    return scale.reshape([-1 if dim == axis % exact.ndim else 1 for dim in range(exact.ndim)])  # [out, 1, ...]


def _search(rows: Tensor, largest: Tensor, top: int) -> Tensor:
    """Grid search per row; one point at a time keeps memory at one copy of the weights."""
    safe = torch.where(largest > 0, largest, torch.ones_like(largest))
    best = torch.empty_like(safe)
    least_error = torch.full_like(safe, torch.inf)
    for share in torch.linspace(LEAST, 1.0, POINTS, dtype=torch.float64).tolist():
        scale = share * safe / top
        column = scale.unsqueeze(1)
        error = (rows - (rows / column).round().clamp(-top, top) * column).square().sum(dim=1)
        better = error < least_error  # strict: an exact tie keeps the lower share
        best = torch.where(better, scale, best)
        least_error = torch.where(better, error, least_error)
    return best
