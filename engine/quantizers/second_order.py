"""Rounding that passes the error of each weight on to those not yet rounded: optimal brain quantization.

Axes: weights ``[row, column]``, a row being one output neuron or channel, a column one input of it (or its bias).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

DAMPING = 3e-3  # of the mean diagonal: columns that hardly ever fire would otherwise make the Hessian singular


@dataclass(frozen=True)
class Rounded:
    """Rounded weights ``[row, column]`` and what they cost, ``δwᵀHδw`` per row ``[row]``."""

    values: Tensor
    cost: Tensor


def inverse_factor(hessian: Tensor, order: Tensor) -> Tensor:
    """Upper Cholesky factor of the damped, permuted Hessian's inverse: what the rounding of any scale needs of it.

    Args:
        hessian: ``[row or 1, column, column]``, symmetric, not negative.
        order: permutation of the columns, first rounded first.

    Returns:
        ``[row or 1, column, column]``.

    Example:
        >>> inverse_factor(torch.eye(2, dtype=torch.float64).unsqueeze(0), torch.tensor([1, 0])).round(decimals=2).abs()
        tensor([[[1., 0.],
                 [0., 1.]]], dtype=torch.float64)
    """
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    ridge = DAMPING * diagonal.mean(1).clamp_min(torch.finfo(hessian.dtype).tiny ** 0.5)
    damped = hessian + torch.diag_embed(ridge.unsqueeze(1).expand_as(diagonal))
    permuted = damped[:, order][:, :, order]
    factor: Tensor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(permuted)), upper=True)
    return factor


def second_order_rounding(
    weight: Tensor, step: Tensor, highest: Tensor, hessian: Tensor, order: Tensor, factor: Tensor | None = None
) -> Rounded:
    """Round column by column; after each, the columns still free move so that ``δwᵀHδw`` grows least.

    Source: Frantar & Alistarh 2022 (arXiv:2208.11580), in the fixed order of Frantar et al. 2022 (arXiv:2210.17323,
    equations 2 and 3 with the Cholesky factor of the inverse)::

        q_p = step_p · clip(round(w_p/step_p), ±highest_p),   w_F ← w_F − (w_p − q_p)/[H_F⁻¹]_pp · [H_F⁻¹]_{p,F}

    Args:
        weight: ``[row, column]`` float64.
        step: ``[row, column]``, positive; 0 marks a column that is not rounded (a bias): it only makes up for others.
        highest: largest integer of each column ``[column]``; levels are symmetric. One bit (``highest`` 1 without a
            zero) is not told apart here: use it for 2 bits and more.
        hessian: ``[row, column, column]``, or ``[1, column, column]`` shared by all rows; symmetric, not negative.
        order: permutation of the columns, first rounded first: coarse ones first, so that fine ones make up for them.
        factor: ``inverse_factor(hessian, order)`` where several scales are tried under one Hessian.

    Raises:
        ValueError: shapes do not fit.

    Example:
        >>> hessian = torch.tensor([[[1.0, 0.9], [0.9, 1.0]]], dtype=torch.float64)
        >>> weight = torch.tensor([[0.4, 0.4]], dtype=torch.float64)
        >>> out = second_order_rounding(weight, torch.ones_like(weight), torch.tensor([3.0, 3.0]).double(), hessian,
        ...                             torch.tensor([0, 1]))
        >>> out.values.tolist()
        [[0.0, 1.0]]
    """
    rows, columns = weight.shape
    if step.shape != weight.shape or hessian.shape[1:] != (columns, columns) or len(hessian) not in (1, rows):
        raise ValueError(
            f"expected steps {tuple(weight.shape)} and a Hessian [1 or {rows}, {columns}, {columns}], got "
            f"{tuple(step.shape)} and {tuple(hessian.shape)}"
        )
    factor = inverse_factor(hessian, order) if factor is None else factor
    free, sizes, tops = weight[:, order].clone(), step[:, order], highest[order]
    result = free.clone()
    for p in range(columns):
        size = sizes[:, p]
        level = torch.clamp(torch.round(free[:, p] / torch.where(size > 0, size, 1.0)), -tops[p], tops[p])
        result[:, p] = torch.where(size > 0, level * size, free[:, p])
        error = (free[:, p] - result[:, p]) / factor[:, p, p]
        free[:, p:] -= error.unsqueeze(1) * factor[:, p, p:]
    values = torch.empty_like(result)
    values[:, order] = result
    change = values - weight
    cost = torch.einsum("rc,rc->r", change @ hessian[0] if len(hessian) == 1 else _times(change, hessian), change)
    return Rounded(values, cost)


def _times(change: Tensor, hessian: Tensor) -> Tensor:
    return torch.bmm(change.unsqueeze(1), hessian).squeeze(1)
