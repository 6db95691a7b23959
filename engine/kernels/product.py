"""Dense products with weights that are packed once and used many times: linear maps and convolutions of floats.

Native on processors with 512-bit vectors, where it comes closer to what the processor can do than a library does that
packs the weights at every call, and hands a neuron scan its sums a few samples at a time (:mod:`engine.kernels.fill`).
Elsewhere torch's product is as quick. Sums run over inputs in their order: results depend on no number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from engine.kernels.fill import Sums
from engine.kernels.native import Library, ProductFillStruct, library

PANEL = 32  # outputs at a time


@dataclass(frozen=True)
class PackedProduct:
    """Weights ``[panel, tap, deep, 32]``, and where the ``deep`` values of a tap begin for every place of the output.

    ``offsets`` ``[tap, place]`` count within a row of ``wide`` values; −1: the tap meets zeros. ``frame`` are the axes
    of a row of the output, in the order of memory.
    """

    panels: Tensor
    offsets: Tensor
    wide: int
    frame: tuple[int, ...]
    found: Library

    def sums(self, source: Tensor, steps: int, batch: int) -> Sums:
        """The product of rows ``[time·batch, wide]`` without gaps, to be made when it is needed."""
        _, taps, deep, _ = self.panels.shape
        places, out = self.offsets.shape[1], self.frame[-1]
        context = ProductFillStruct(
            *(t.data_ptr() for t in (source, self.panels, self.offsets)),
            *(steps, batch, self.wide, taps, deep, places, out, self.found.float_mode()),
        )
        return Sums(
            self.found.fill_products,
            context,
            (source, self),
            steps,
            batch,
            self.frame,
            torch.float32,
            steps * batch * places * taps * deep * out,
            steps * places,
            self.found.product_rows,
        )


def pack_linear(weight: Tensor) -> PackedProduct | None:
    """Of a weight ``[out, in]``; None: there is no native product here, or not of this dtype."""
    found = _suited(weight)
    if found is None:
        return None
    return PackedProduct(
        _panels(weight.unsqueeze(1)), torch.zeros(1, 1, dtype=torch.int32), weight.shape[1], (weight.shape[0],), found
    )


def pack_conv(
    weight: Tensor,
    size: tuple[int, int],
    out_size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> PackedProduct | None:
    """Of kernels ``[out, channel, ky, kx]`` that meet ``[row, column, channel]``; None: see :func:`pack_linear`.

    Where nothing is padded or dilated along a row, what a row of the kernel meets is one stretch of memory.
    """
    found = _suited(weight)
    if found is None or prod(weight.shape[2:]) * prod(out_size) == 0:
        return None
    out, channels, high, wide = weight.shape
    whole = padding[1] == 0 and dilation[1] == 1
    y = _positions(out_size[0], high, stride[0], padding[0], dilation[0])  # [out place, kernel place]
    x = _positions(out_size[1], 1 if whole else wide, stride[1], padding[1], dilation[1])
    inside = _inside(y, size[0])[:, None, :, None] & _inside(x, size[1])[None, :, None, :]
    offsets = (y[:, None, :, None] * size[1] + x[None, :, None, :]) * channels
    offsets = torch.where(inside, offsets, -1).flatten(0, 1).flatten(1).T  # [tap, place]
    by_tap = weight.permute(0, 2, 3, 1).reshape(out, offsets.shape[0], -1)
    return PackedProduct(
        _panels(by_tap), offsets.to(torch.int32).contiguous(), prod(size) * channels, (*out_size, out), found
    )


def _suited(weight: Tensor) -> Library | None:
    found = library()
    fits = weight.dtype == torch.float32 and weight.device.type == "cpu" and weight.numel() > 0
    return found if fits and found is not None and found.product_rows > 0 else None


def _panels(by_tap: Tensor) -> Tensor:
    """``[out, tap, deep]`` to ``[panel, tap, deep, 32]``, zeros where there is no output."""
    out, taps, deep = by_tap.shape
    filled = by_tap.new_zeros(-(-out // PANEL) * PANEL, taps, deep)
    filled[:out] = by_tap
    return filled.reshape(-1, PANEL, taps, deep).permute(0, 2, 3, 1).contiguous()


def _positions(places: int, kernel: int, stride: int, padding: int, dilation: int) -> Tensor:
    return torch.arange(places)[:, None] * stride - padding + torch.arange(kernel)[None, :] * dilation


def _inside(positions: Tensor, size: int) -> Tensor:
    return (positions >= 0) & (positions < size)
