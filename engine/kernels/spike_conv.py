"""``F.conv2d`` where few entries of the input are not zero: forward and weight gradient cost by the event.

Twin of :mod:`engine.kernels.spike_linear` for convolutions. Every position of the input has *taps*, which row of the
weights it adds at which place of the output; channels lie innermost, so that a tap is a stretch of memory. The gradient
of the input is dense. Kept for the backward pass are the events, not the input.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from engine.kernels.native import Library, TapsStruct, in_parts, library
from engine.kernels.spike_linear import KINDS, Events, find_events

Geometry = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]  # stride, padding, dilation, groups
MOST_TAPS = 1 << 22  # of one layer: a table of 32 MB; beyond, the dense product
PARTS = 4  # sums over rows are taken in so many parts whatever the threads, so that results do not depend on them


class Taps:
    """Which weights an input position adds, and where: ``row[t]`` at ``place[t]`` for t in ``begin[p]..begin[p+1]``."""

    def __init__(self, begin: Tensor, row: Tensor, place: Tensor, out: tuple[int, int]) -> None:
        self.begin, self.row, self.place, self.out = begin, row, place, out

    def struct(self, channels: int) -> TapsStruct:
        """As C reads it; valid as long as this object lives."""
        places = self.out[0] * self.out[1]
        return TapsStruct(channels, places, self.begin.data_ptr(), self.row.data_ptr(), self.place.data_ptr())


def spike_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor | None:
    """``F.conv2d`` that is quick for sparse inputs, or None where the dense one is quicker or there is no library.

    Args:
        x: spikes or counts ``[row, channel, height, width]``, bytes or floats, in any of torch's memory formats.
        weight: ``[out, channel, height, width]``, float32 or float64; its dtype is the result's.
        bias: ``[out]`` or None.
        geometry: stride, padding, dilation, groups; groups are left to the dense product.

    Returns:
        ``[row, out, height, width]``, channels innermost in memory.
    """
    found = library()
    if found is None or geometry[3] != 1 or x.dim() != 4 or weight.numel() * x[0].numel() == 0:
        return None
    stride, padding, dilation, _ = geometry
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    taps = taps_of(tuple(x.shape[1:]), tuple(weight.shape[2:]), stride, padding, dilation, last)
    if taps is None:
        return None
    rows = x.detach().permute(0, 2, 3, 1).flatten(1) if last else x.detach().flatten(1)
    events = find_events(found, rows, weight)
    if events is None:
        return None
    product: Tensor = _SpikeConv.apply(x, weight, bias, events, taps, geometry, found)  # type: ignore[no-untyped-call]
    return product


@functools.lru_cache(maxsize=64)
def taps_of(
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    channels_last: bool,
) -> Taps | None:
    """The taps of a layer, input positions counted as they lie in memory; None where the table would be large."""
    channels, height, width = shape
    if channels * height * width * kernel[0] * kernel[1] > MOST_TAPS:
        return None
    y, high = _axis(height, kernel[0], stride[0], padding[0], dilation[0])
    x, wide = _axis(width, kernel[1], stride[1], padding[1], dilation[1])
    # valid (y, ky) and (x, kx) pairs; every one of their combinations, for every channel, is a tap
    ky, kx = torch.meshgrid(torch.arange(kernel[0]), torch.arange(kernel[1]), indexing="ij")
    reached = (y >= 0)[:, None, ky] & (x >= 0)[None, :, kx]  # [height, width, kh, kw]
    place = (y[:, None, ky] * wide + x[None, :, kx]).expand_as(reached)
    row = ((ky * kernel[1] + kx) * channels).expand_as(reached)
    each = torch.arange(channels)
    if channels_last:
        view = (height, width, channels, *kernel)
        reached, place = (t[:, :, None].expand(view) for t in (reached, place))
        row = row[:, :, None] + each[None, None, :, None, None]
    else:
        view = (channels, height, width, *kernel)
        reached, place = (t[None].expand(view) for t in (reached, place))
        row = row[None] + each[:, None, None, None, None]
    number = reached.flatten(0, 2).flatten(1).sum(1)
    begin = torch.cat([torch.zeros(1, dtype=torch.int64), number.cumsum(0)]).to(torch.int32)
    return Taps(begin, row[reached].to(torch.int32), place[reached].to(torch.int32), (high, wide))


def _axis(size: int, kernel: int, stride: int, padding: int, dilation: int) -> tuple[Tensor, int]:
    """For each (position, kernel element) of one axis the output index, −1 where there is none; and the output size."""
    out = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    start = torch.arange(size)[:, None] + padding - dilation * torch.arange(kernel)
    index = torch.div(start, stride, rounding_mode="floor")
    fits = (start % stride == 0) & (index >= 0) & (index < out)
    return torch.where(fits, index, -1), out


class _SpikeConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        events: Events,
        taps: Taps,
        geometry: Geometry,
        found: Library,
    ) -> Tensor:
        rows, out, kind = len(x), weight.shape[0], KINDS[weight.dtype]
        product = torch.empty(rows, *taps.out, out, dtype=weight.dtype)
        by_tap = weight.detach().permute(2, 3, 1, 0).contiguous()
        offset = None if bias is None else bias.detach().contiguous()
        struct, table = events.struct(), taps.struct(out)
        where = (
            ctypes.byref(struct), ctypes.byref(table), by_tap.data_ptr(),
            None if offset is None else offset.data_ptr(), product.data_ptr(),
        )  # fmt: skip
        in_parts(lambda first, last: found.convolve_rows(kind, *where, first, last), rows, 1, product.numel())
        ctx.save_for_backward(
            weight if ctx.needs_input_grad[0] else None, events.begin, events.count, events.columns, events.values
        )
        ctx.taps, ctx.geometry, ctx.found = taps, geometry, found
        ctx.x_shape, ctx.x_dtype, ctx.w_shape, ctx.wide = x.shape, x.dtype, weight.shape, events.wide
        return product.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        weight, begin, count, columns, values = ctx.saved_tensors
        g = g.contiguous(memory_format=torch.channels_last)
        g_x = g_weight = None
        if ctx.needs_input_grad[0]:
            stride, padding, dilation, groups = ctx.geometry
            # only its shape and format are read
            like = torch.empty(ctx.x_shape, dtype=g.dtype, memory_format=torch.channels_last)
            g_x, _, _ = torch.ops.aten.convolution_backward(
                g, like, weight, None, stride, padding, dilation, False, [0, 0], groups, [True, False, False]
            )
            g_x = g_x.to(ctx.x_dtype)
        if ctx.needs_input_grad[1]:
            g_weight = _weight_gradient(ctx, Events(begin, count, columns, values, ctx.wide), g)
        return g_x, g_weight, g.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None, None, None, None, None


def _weight_gradient(ctx: Any, events: Events, g: Tensor) -> Tensor:
    out, channels, *kernel = ctx.w_shape
    rows, kind = len(events.begin), KINDS[g.dtype]
    sums = torch.zeros(PARTS, *kernel, channels, out, dtype=g.dtype)
    struct, table = events.struct(), ctx.taps.struct(out)
    where = ctypes.byref(struct), ctypes.byref(table), g.permute(0, 2, 3, 1).data_ptr()
    edges = [rows * k // PARTS for k in range(PARTS + 1)]

    def part(first: int, last: int) -> None:
        for k in range(first, last):
            ctx.found.add_taps(kind, *where, sums[k].data_ptr(), edges[k], edges[k + 1])

    in_parts(part, PARTS, 1, len(events.columns) * out)
    return sums.sum(0).permute(3, 2, 0, 1)
