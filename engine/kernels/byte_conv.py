"""Convolution of an input in bytes that keeps the bytes, not their floats, for the gradient of the weights."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

Geometry = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]  # stride, padding, dilation, groups


def byte_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """``F.conv2d`` of float32 weights, channels innermost in memory; a quarter of its memory is kept.

    Args:
        x: bytes ``[row, channel, height, width]``; takes no gradient.
        weight: float32 ``[out, in, height, width]``.
        bias: float32 ``[out]`` or None.
        geometry: stride, padding, dilation, groups.

    Example:
        >>> x = torch.ones(1, 1, 2, 2, dtype=torch.uint8)
        >>> byte_conv2d(x, torch.ones(1, 1, 2, 2), None, ((1, 1), (0, 0), (1, 1), 1)).item()
        4.0
    """
    product: Tensor = _ByteConv.apply(x, weight, bias, geometry)  # type: ignore[no-untyped-call]
    return product


def _floats(x: Tensor) -> Tensor:
    return x.to(torch.float32, memory_format=torch.channels_last)


class _ByteConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return F.conv2d(_floats(x), weight, bias, *geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.geometry
        wanted = [False, ctx.needs_input_grad[1], ctx.needs_input_grad[2]]
        _, g_weight, g_bias = torch.ops.aten.convolution_backward(
            g, _floats(x), weight, [weight.shape[0]], stride, padding, dilation, False, [0, 0], groups, wanted
        )
        return None, g_weight, g_bias, None
