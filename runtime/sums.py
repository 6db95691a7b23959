"""Synaptic sums: what one connection adds to its target, exact integers (docs/program.md, Synaptic sum).

Axes ``[row, neuron...]``: a row is one time step of one sample.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.program import Connection, IntArray, Map, SumPool

EXACT = 1 << 53  # float64 holds every integer up to here, so BLAS may add them in any order
EXACT_32 = 1 << 24  # float32, twice as fast
COLUMN_BYTES = 1 << 25  # memory for the unfolded windows of one convolution call


def synaptic_sum(connection: Connection, values: IntArray) -> IntArray:
    """``after(W · before(values) << exponent)``; the fraction bits are the target's business.

    Args:
        connection: what to apply.
        values: spikes or input ``[row, *source_shape]``.

    Returns:
        int64 ``[row, *target_shape]``.
    """
    for part in connection.before:
        values = apply_map(part, values)
    if connection.weight is not None:
        exact = _exact_type(connection)
        if connection.kind == "linear":
            values = (values.astype(exact) @ connection.weight.T.astype(exact)).astype(np.int64)
        else:
            values = _convolve(connection, connection.weight, values, exact)
            if connection.kind == "conv1d":
                values = values[:, :, 0]  # [row, channel, place]
    exponent = connection.exponent
    if exponent.ndim:
        exponent = exponent.reshape(-1, *[1] * (values.ndim - 2))  # [channel, 1, 1] or [neuron]
    values = values << exponent
    for part in connection.after:
        values = apply_map(part, values)
    return values


def _exact_type(connection: Connection) -> type:
    """The fastest type in which no sum of a connection can round, whatever its order."""
    if connection.accumulator <= EXACT_32:
        return np.float32
    return np.float64 if connection.accumulator < EXACT else np.int64


def apply_map(part: Map, values: IntArray) -> IntArray:
    """A weightless map on ``[row, *shape]``."""
    if isinstance(part, SumPool):
        return _sum_pool(part, values)
    shape, start, end = values.shape, part.start + 1, part.end + 1  # past the row axis
    return values.reshape(*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :])


def _sum_pool(pool: SumPool, values: IntArray) -> IntArray:
    (kh, kw), (sh, sw), (ph, pw) = pool.kernel, pool.stride, pool.padding
    values = np.pad(values, [(0, 0)] * (values.ndim - 2) + [(ph, ph), (pw, pw)])
    rows, columns = (values.shape[-2] - kh) // sh + 1, (values.shape[-1] - kw) // sw + 1
    total = np.zeros((*values.shape[:-2], rows, columns), dtype=np.int64)
    for i in range(kh):
        for j in range(kw):
            total += values[..., i : i + sh * rows : sh, j : j + sw * columns : sw][..., :rows, :columns]
    return total


def _convolve(connection: Connection, weight: IntArray, values: IntArray, exact: type) -> IntArray:
    """Cross-correlation with zero padding, as one matrix product per group on unfolded windows."""
    stride, padding, dilation = connection.stride, connection.padding, connection.dilation
    if connection.kind == "conv1d":  # an image of one row
        values, weight = values[:, :, None], weight[:, :, None]
        stride, padding, dilation = (1, *stride), (0, *padding), (1, *dilation)
    (sh, sw), (ph, pw), (dh, dw) = stride, padding, dilation
    out, inner, kh, kw = weight.shape
    groups = connection.groups
    kernel: NDArray[Any] = weight.reshape(groups, out // groups, inner * kh * kw).transpose(0, 2, 1).astype(exact)
    high = (values.shape[2] + 2 * ph - dh * (kh - 1) - 1) // sh + 1
    wide = (values.shape[3] + 2 * pw - dw * (kw - 1) - 1) // sw + 1
    result = np.empty((len(values), out, high, wide), dtype=np.int64)
    rows = max(1, COLUMN_BYTES // (8 * groups * inner * kh * kw * high * wide))
    for first in range(0, len(values), rows):
        part: NDArray[Any] = np.pad(values[first : first + rows].astype(exact), ((0, 0), (0, 0), (ph, ph), (pw, pw)))
        windows = np.lib.stride_tricks.sliding_window_view(part, (dh * (kh - 1) + 1, dw * (kw - 1) + 1), axis=(2, 3))
        windows = windows[:, :, ::sh, ::sw, ::dh, ::dw]  # [row, in, high, wide, kh, kw]
        for group in range(groups):
            mine = windows[:, group * inner : (group + 1) * inner].transpose(0, 2, 3, 1, 4, 5)
            columns = mine.reshape(-1, inner * kh * kw)  # [row·high·wide, in·kh·kw]
            sums = (columns @ kernel[group]).reshape(-1, high, wide, out // groups)
            result[first : first + rows, group * (out // groups) : (group + 1) * (out // groups)] = np.moveaxis(
                sums, -1, 1
            )
    return result
