"""A connection as taps: which rows of weights each source neuron adds, and to which neurons they go.

Convolutions and sum pools are linear, so a pool before or after the weights only multiplies the taps. Layers of several
axes are kept with the channel last, so that a tap's weights (all output channels of a group) and their targets lie
side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.program.geometry import map_shape, sum_shape
from engine.program.program import Connection, Flatten, IntArray, SumPool

PAD = 64  # neurons: whole vectors at every level


class Unsupported(Exception):
    """The event kernel cannot run this; the message says why. Another runner can."""


@dataclass(frozen=True)
class Taps:
    """``begin`` ``[source + 1]``, ``weight`` and ``target`` per tap, flat ``weights``; ``width`` weights a tap.

    ``rows``: one tap per source neuron, over all padded neurons. Sources and targets are in internal order.
    """

    begin: IntArray
    weight: NDArray[np.int32]
    target: NDArray[np.int32]
    weights: NDArray[Any]
    width: int
    rows: bool


def padded(size: int) -> int:
    """Neurons with room for whole vectors."""
    return -(-size // PAD) * PAD


def internal_order(shape: tuple[int, ...]) -> IntArray:
    """Internal index of each neuron in C order: the channel becomes the last axis.

    Example:
        >>> internal_order((2, 3)).tolist()
        [0, 2, 4, 1, 3, 5]
    """
    size = prod(shape)
    if len(shape) == 1:
        return np.arange(size)
    inner = np.arange(size).reshape(*shape[1:], shape[0])
    return np.moveaxis(inner, -1, 0).reshape(-1)


def connection_taps(connection: Connection) -> Taps:
    """The taps of a connection.

    Raises:
        Unsupported: a flatten follows the weights of a convolution.
    """
    shape, reach = connection.source_shape, [[k] for k in range(prod(connection.source_shape))]
    for part in connection.before:
        if isinstance(part, SumPool):
            reach = _through(reach, _pool_reach(part, shape))
        shape = map_shape(shape, (part,), connection.name)
    summed = sum_shape(connection, connection.weight_shape or None)
    out = summed
    places = [[k] for k in range(prod(summed[1:]))]
    for part in connection.after:
        if isinstance(part, Flatten):
            raise Unsupported(f"connection {connection.name!r} joins axes after its weights")
        places = _through(places, _pool_reach(part, (1, *out[1:])))
        out = map_shape(out, (part,), connection.name)
    weights: NDArray[Any]
    if connection.weight is None:
        order = internal_order(shape)
        taps = [[(0, int(order[k]))] for k in range(prod(shape))]
        weights, width, rows = np.ones(1, dtype=np.int8), 1, False
    elif connection.kind == "linear":
        wide = padded(summed[0])
        table = np.zeros((connection.weight.shape[1], wide), dtype=np.int64)
        table[:, : summed[0]] = connection.weight.T
        taps = [[(k * wide, 0)] for k in range(len(table))]
        rows = not any(isinstance(part, SumPool) for part in connection.before)
        weights, width = table.reshape(-1), wide if rows else summed[0]
    else:
        taps, weights = _convolution(connection, shape, summed, places)
        width, rows = summed[0] // connection.groups, False
    return _packed(
        [[tap for place in places_ for tap in taps[place]] for places_ in reach], connection, weights, width, rows
    )


def _packed(
    taps: list[list[tuple[int, int]]], connection: Connection, weights: NDArray[Any], width: int, rows: bool
) -> Taps:
    """Taps in the source's internal order, weights in the narrowest type."""
    natural = np.argsort(internal_order(connection.source_shape))
    ordered = [taps[k] for k in natural]
    pairs = np.array([tap for some in ordered for tap in some], dtype=np.int64).reshape(-1, 2)
    if rows:
        weights = weights.reshape(len(taps), -1)[natural].reshape(-1)
        pairs[:, 0] = np.arange(len(taps)) * width
    return Taps(
        begin=np.concatenate([[0], np.cumsum([len(some) for some in ordered])]).astype(np.int64),
        weight=np.ascontiguousarray(pairs[:, 0], dtype=np.int32),
        target=np.ascontiguousarray(pairs[:, 1], dtype=np.int32),
        weights=np.ascontiguousarray(
            weights, dtype=np.int8 if np.abs(weights + (weights < 0)).max() < 128 else np.int16
        ),
        width=width,
        rows=rows,
    )


def _through(first: list[list[int]], second: list[list[int]]) -> list[list[int]]:
    return [[end for middle in ends for end in second[middle]] for ends in first]


def _pool_reach(pool: SumPool, shape: tuple[int, ...]) -> list[list[int]]:
    """For each place in C order: the windows that hold it."""
    out = map_shape(shape, (pool,), "")
    rows = _windows(shape[-2], pool.kernel[0], pool.stride[0], pool.padding[0], 1)
    columns = _windows(shape[-1], pool.kernel[1], pool.stride[1], pool.padding[1], 1)
    reach = []
    for plane in range(prod(shape[:-2])):
        for row in rows:
            for column in columns:
                reach.append([(plane * out[-2] + r) * out[-1] + c for r, _ in row for c, _ in column])
    return reach


def _windows(size: int, kernel: int, stride: int, padding: int, dilation: int) -> list[list[tuple[int, int]]]:
    """For each place along an axis: (window, place in the kernel) of every window that holds it."""
    count = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    found: list[list[tuple[int, int]]] = [[] for _ in range(size)]
    for window in range(count):
        for k in range(kernel):
            place = window * stride + k * dilation - padding
            if 0 <= place < size:
                found[place].append((window, k))
    return found


def _convolution(
    connection: Connection, shape: tuple[int, ...], summed: tuple[int, ...], places: list[list[int]]
) -> tuple[list[list[tuple[int, int]]], NDArray[Any]]:
    """Taps of every input place in C order; weights ``[in channel, kernel row, kernel column, out of the group]``."""
    if connection.weight is None:
        raise ValueError(f"connection {connection.name!r} has no weights")
    line = connection.kind == "conv1d"
    weight = connection.weight[:, :, None] if line else connection.weight
    stride, padding, dilation = (
        (first, values[0]) if line else (values[0], values[1])
        for first, values in ((1, connection.stride), (0, connection.padding), (1, connection.dilation))
    )
    out, inner, high, wide = weight.shape
    groups = connection.groups
    width = out // groups
    table = weight.reshape(groups, width, inner, high, wide).transpose(0, 2, 3, 4, 1)  # [group, in, row, column, out]
    sizes = (1, *shape[1:])[-2:]
    rows = _windows(sizes[0], high, stride[0], padding[0], dilation[0])
    columns = _windows(sizes[1], wide, stride[1], padding[1], dilation[1])
    across = (1, *summed[1:])[-1]
    taps = []
    for channel in range(shape[0]):
        base = channel // inner * width
        for row in rows:
            for column in columns:
                taps.append(
                    [
                        (((channel * high + a) * wide + b) * width, place * out + base)
                        for r, a in row
                        for c, b in column
                        for place in places[r * across + c]
                    ]
                )
    return taps, table.reshape(-1)
