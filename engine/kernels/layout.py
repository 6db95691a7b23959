"""How the axes of a layer lie in memory: convolutions like channels innermost, elementwise work takes any order."""

from __future__ import annotations

import torch
from torch import Tensor


def neuron_order(values: Tensor) -> list[int] | None:
    """Neuron axes of ``[time, batch, neuron...]`` from the outermost in memory to the innermost; None: it has gaps.

    Example:
        >>> import torch
        >>> neuron_order(torch.zeros(2, 3, 4, 5, 6).movedim(4, 2))
        [1, 2, 0]
    """
    shape, stride = values.shape[2:], values.stride()[2:]
    order = sorted(range(len(shape)), key=lambda axis: (-stride[axis], axis))
    step = 1
    for axis in reversed(order):
        if shape[axis] != 1 and stride[axis] != step:
            return None
        step *= shape[axis]
    steps, batch = values.shape[:2]
    whole = (batch == 1 or values.stride(1) == step) and (steps == 1 or values.stride(0) == step * batch)
    return order if whole else None


def laid_out(values: Tensor, like: Tensor) -> Tensor:
    """The values in the memory layout, and the dtype, of another tensor of their shape."""
    if values.dtype == like.dtype and _same_strides(values, like):
        return values
    return torch.empty_like(like).copy_(values)


def channels_last(values: Tensor) -> Tensor:
    """``[time, batch, channel, row, column]`` with channels innermost in memory; other shapes without gaps.

    Example:
        >>> import torch
        >>> channels_last(torch.zeros(2, 3, 4, 5, 6)).stride()
        (360, 120, 1, 24, 4)
    """
    if values.dim() != 5:
        return values.contiguous()
    return values.movedim(2, 4).contiguous().movedim(4, 2)


def _same_strides(one: Tensor, other: Tensor) -> bool:
    return all(size == 1 or a == b for size, a, b in zip(one.shape, one.stride(), other.stride(), strict=True))
