"""Convolution of whole numbers with float64 weights, exactly, at the speed of float32.

No fast float64 convolution exists for CPUs; the float32 one is about fifteen times faster. Weights are cut into slices
of few bits whose products and sums float32 holds exactly (Ozaki et al. 2012, "Error-free transformations of matrix
multiplication"), and the slices' sums are added in float64. Sparse inputs are convolved by their events, which is
quicker still. Either is used only where float64 itself would not round
either, whatever the order of its sums: then both results are the exact one, to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, frexp, log2, prod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.kernels.spike_conv import spike_conv2d

FLOAT32_BITS, FLOAT64_BITS = 24, 53
MOST_SLICES = 5  # more cost about as much as float64 does
FEW_CHANNELS = 8  # up to here a convolution is two to three times faster with its channels last

Geometry = tuple[tuple[int, int], tuple[int, int], tuple[int, int], int]  # stride, padding, dilation, groups


@dataclass(frozen=True)
class Slices:
    """``weight = Σ_k units[k] · pieces[k]``; pieces ``[slice, out, in, row, column]`` are small whole numbers."""

    pieces: Tensor
    units: tuple[float, ...]


def exact_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor | None:
    """``F.conv2d`` in float64, or None where exactness is not provable.

    Args:
        x: whole numbers ``[row, channel, height, width]`` in float32.
        weight: float64 ``[out, in, height, width]``.
        bias: float64 ``[out]`` or None.
        geometry: stride, padding, dilation, groups.

    Example:
        >>> w = torch.tensor([[[[0.1]]]], dtype=torch.float64)
        >>> plain = ((1, 1), (0, 0), (1, 1), 1)
        >>> bool(exact_conv2d(torch.full((1, 1, 1, 1), 3.0), w.float().double(), None, plain) == w.float().double() * 3)
        True
    """
    low, high = torch.aminmax(x) if x.numel() else (x.new_zeros(()), x.new_zeros(()))
    slices = slice_weight(weight, bias, max(1.0, -float(low), float(high)))
    if slices is None:
        return None
    if (sparse := spike_conv2d(x, weight, bias, geometry)) is not None:
        return sparse
    stride, padding, dilation, groups = geometry
    if x.shape[1] <= FEW_CHANNELS:
        x = x.contiguous(memory_format=torch.channels_last)
    total: Tensor | None = None
    for piece, unit in zip(slices.pieces, slices.units, strict=True):
        part = F.conv2d(x, piece, None, stride, padding, dilation, groups)
        total = part.double().mul_(unit) if total is None else total.add_(part, alpha=unit)
    if total is None:  # every weight is zero
        total = F.conv2d(x, weight.float(), None, stride, padding, dilation, groups).double()
    return total if bias is None else total.add_(bias.reshape(-1, 1, 1))


def slice_weight(weight: Tensor, bias: Tensor | None, largest: float) -> Slices | None:
    """Cut weights so that float32 sums over inputs of size up to ``largest`` are exact.

    Returns:
        The slices, or None where float64 could round, or where too many slices would be needed.
    """
    rows = weight.detach().flatten(1).numpy()
    offset = np.zeros(len(rows)) if bias is None else np.abs(bias.detach().numpy())
    values = rows if bias is None else np.concatenate([rows.ravel(), offset])
    lowest = _lowest_bit(values)
    if lowest is None:
        return Slices(weight.new_zeros((0, *weight.shape)), ())
    bound = float((np.abs(rows).sum(1) * largest + offset).max())
    if not np.isfinite(bound) or frexp(bound)[1] - lowest > FLOAT64_BITS - 1:  # one bit of reserve for this sum itself
        return None
    fan_in = prod(weight.shape[1:])
    bits = FLOAT32_BITS - ceil(log2(fan_in * largest))
    top = frexp(float(np.abs(rows).max()))[1]
    if bits < 1 or (top - lowest) > bits * MOST_SLICES:
        return None
    rest, pieces, units = rows.copy(), [], []
    while rest.any():
        top -= bits
        whole = np.trunc(np.ldexp(rest, -top))
        rest -= np.ldexp(whole, top)
        if whole.any():
            pieces.append(whole.astype(np.float32).reshape(weight.shape))
            units.append(2.0**top)
    if not pieces:
        return Slices(weight.new_zeros((0, *weight.shape)), ())
    return Slices(torch.as_tensor(np.stack(pieces)), tuple(units))


def _lowest_bit(values: np.ndarray) -> int | None:
    """The exponent k for which every value is a multiple of ``2^k``, the largest such; None where all are zero."""
    mantissa, exponent = np.frexp(values[values != 0])
    if not len(mantissa):
        return None
    whole = np.ldexp(mantissa, FLOAT64_BITS).astype(np.int64)
    return int((exponent - FLOAT64_BITS + np.log2((whole & -whole).astype(np.float64)).astype(np.int64)).min())
