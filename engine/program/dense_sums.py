"""Dense synaptic sums for the native runner: one matrix product over all steps, exact in integers.

Bytes times bytes into 32 bits where the processor has instructions for it (VNNI: several times faster than float32),
else float32 where the proved bound ``Σ|w|·max|x|`` is at most 2^24, else nothing. Results lie
in the kernel's own order, the channel last, so that a convolution is a product with unfolded windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.program.bounds import FLOAT32_EXACT, ConnectionBounds
from engine.program.geometry import sum_shape
from engine.program.program import Connection, Flatten
from engine.program.taps import internal_order

BYTE = (-128, 127)
CHUNK_BYTES = 1 << 21  # of unfolded windows: they stay in the second cache


@dataclass(frozen=True)
class DenseWeights:
    """``matrix`` ``[in·window, out]``, int8 or float32; ``windows``: ``[out place, in·window]`` of a convolution."""

    matrix: Tensor
    image: tuple[int, int, int] | None  # rows, columns, channels of the source; None: a linear map
    window: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    places: tuple[int, int]

    @property
    def products(self) -> int:
        """Multiply-adds of one step."""
        return self.matrix.numel() * self.places[0] * self.places[1]


@cache
def bytes_are_fast() -> bool:
    """Whether torch multiplies bytes with instructions made for it, and rightly."""
    supported = getattr(torch.cpu, "_is_vnni_supported", lambda: False)()
    if not supported or not hasattr(torch, "_int_mm"):
        return False
    a = torch.arange(-128, 128, dtype=torch.int8).reshape(4, 64)
    return bool(torch.equal(torch._int_mm(a, a.T), a.int() @ a.T.int()))


def dense_weights(connection: Connection, bounds: ConnectionBounds) -> DenseWeights | None:
    """A connection's weights for :func:`dense_sums`; None where it has no such form or no exact product."""
    weight, (lo, hi) = connection.weight, bounds.values
    if weight is None or lo < BYTE[0] or hi > BYTE[1] or connection.groups != 1 or connection.after:
        return None
    if min(weight.shape[:2]) < 2:  # torch's product of bytes does not take such a matrix; events are quick there
        return None
    narrow = BYTE[0] <= int(weight.min()) and int(weight.max()) <= BYTE[1]
    if narrow and bytes_are_fast():
        dtype: Any = np.int8
    elif bounds.accumulator <= FLOAT32_EXACT:
        dtype = np.float32
    else:
        return None
    if connection.kind == "linear":
        if not all(isinstance(part, Flatten) for part in connection.before):
            return None
        matrix = np.empty(weight.T.shape, dtype=dtype)
        matrix[internal_order(connection.source_shape)] = weight.T
        one = (1, 1)
        return DenseWeights(torch.from_numpy(matrix), None, one, one, (0, 0), one, one)
    return None if connection.before else _convolution(connection, weight, dtype)


def dense_sums(weights: DenseWeights, x: Tensor) -> Tensor:
    """Sums int32 ``[row, out neuron]`` of bytes ``[row, in neuron]``, both in the kernel's order."""
    out = weights.matrix.shape[1]
    result = torch.empty(len(x), weights.places[0] * weights.places[1] * out, dtype=torch.int32)
    each = weights.matrix.shape[0] * weights.places[0] * weights.places[1] * weights.matrix.element_size()
    size = max(1, CHUNK_BYTES // each)
    for first in range(0, len(x), size):
        part = x[first : first + size]
        columns = part if weights.image is None else _windows(weights, part)
        into = result[first : first + size].view(-1, out)  # [row·place, out]
        if weights.matrix.dtype == torch.int8:
            torch._int_mm(columns, weights.matrix, out=into)
        else:
            into.copy_(columns.to(torch.float32) @ weights.matrix)
    return result


def _windows(weights: DenseWeights, x: Tensor) -> Tensor:
    """Bytes ``[row·place, window row·window column·channel]``."""
    high, wide, channels = weights.image or (1, 1, 1)
    (pr, pc), (sr, sc), (dr, dc) = weights.padding, weights.stride, weights.dilation
    image = x.view(-1, high, wide, channels)
    if pr or pc:
        image = torch.nn.functional.pad(image, (0, 0, pc, pc, pr, pr))
    across = image.shape[2] * channels
    shape = (len(x), *weights.places, *weights.window, channels)
    steps = (image.shape[1] * across, sr * across, sc * channels, dr * across, dc * channels, 1)
    return image.contiguous().as_strided(shape, steps).reshape(-1, weights.matrix.shape[0])


def _convolution(connection: Connection, weight: NDArray[np.int64], dtype: Any) -> DenseWeights:
    line = connection.kind == "conv1d"
    kernel = weight[:, :, None] if line else weight

    def pair(values: tuple[int, ...], first: int) -> tuple[int, int]:
        return (first, values[0]) if line else (values[0], values[1])

    channels, *sizes = connection.source_shape
    summed = sum_shape(connection, weight.shape)
    high, wide = (1, *sizes)[-2:]
    rows, columns = (1, *summed[1:])[-2:]
    matrix = kernel.transpose(2, 3, 1, 0).reshape(-1, kernel.shape[0])  # [row·column·channel, out]
    return DenseWeights(
        matrix=torch.from_numpy(np.ascontiguousarray(matrix, dtype=dtype)),
        image=(high, wide, channels),
        window=(kernel.shape[2], kernel.shape[3]),
        stride=pair(connection.stride, 1),
        padding=pair(connection.padding, 0),
        dilation=pair(connection.dilation, 1),
        places=(rows, columns),
    )
