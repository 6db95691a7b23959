"""Shapes and integer ranges through the weightless maps and the weighted sums of a connection.

Axes: neuron axes only, ``[channel, row, column]`` for images, ``[neuron]`` for vectors.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import NotRepresentable
from engine.network.model import Flatten, Map, Scale, SumPool

Range = tuple[int, int]


class Geometry(Protocol):
    """What a float and an integer connection have in common."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def source_shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def before(self) -> tuple[Map, ...]: ...  # noqa: D102
    @property
    def after(self) -> tuple[Map, ...]: ...  # noqa: D102
    @property
    def stride(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def padding(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def dilation(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def groups(self) -> int: ...  # noqa: D102


def window_count(size: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    """Number of windows along one axis: ``(size + 2·padding - dilation·(kernel - 1) - 1) div stride + 1``.

    Example:
        >>> window_count(34, 5, 2, 1)
        16
    """
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def map_shape(shape: tuple[int, ...], maps: Iterable[Map], name: str) -> tuple[int, ...]:
    """Shape after weightless maps.

    Raises:
        NotRepresentable: a map does not fit; the message names the connection.

    Example:
        >>> from engine.network.model import Flatten
        >>> map_shape((8, 4, 4), (SumPool((2, 2), (2, 2), (0, 0)), Flatten(0, 2)), "fc")
        (32,)
    """
    for part in maps:
        if isinstance(part, SumPool):
            if len(shape) < 2:
                raise _misfit(name, f"a pool needs rows and columns, found shape {shape}")
            sizes = [
                window_count(size, *window)
                for size, *window in zip(shape[-2:], part.kernel, part.stride, part.padding, strict=True)
            ]
            if min(sizes) < 1:
                raise _misfit(name, f"a {part.kernel} pool does not fit into shape {shape}")
            shape = (*shape[:-2], *sizes)
        elif isinstance(part, Flatten):
            if not 0 <= part.start <= part.end < len(shape):
                raise _misfit(name, f"flatten of axes {part.start}..{part.end} does not fit shape {shape}")
            shape = (*shape[: part.start], prod(shape[part.start : part.end + 1]), *shape[part.end + 1 :])
    return shape


def sum_shape(connection: Geometry, weight_shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """Shape of the weighted sum: after ``before`` and the weights, before ``after``.

    Raises:
        NotRepresentable: the weights do not fit what comes in; expected and found are named.
    """
    shape = map_shape(connection.source_shape, connection.before, connection.name)
    if connection.kind == "identity" or weight_shape is None:
        return shape
    if connection.kind == "linear":
        if len(weight_shape) != 2 or shape != weight_shape[1:]:
            raise _misfit(connection.name, f"weights of shape {weight_shape} expect [in], found input shape {shape}")
        return weight_shape[:1]
    groups, axes = connection.groups, 1 if connection.kind == "conv1d" else 2
    if (
        len(weight_shape) != axes + 2
        or len(shape) != axes + 1
        or shape[0] != weight_shape[1] * groups
        or weight_shape[0] % groups
    ):
        raise _misfit(connection.name, f"kernel {weight_shape} in {groups} groups does not fit input shape {shape}")
    geometry = zip(shape[1:], weight_shape[2:], connection.stride, connection.padding, connection.dilation, strict=True)
    sizes = tuple(window_count(*axis) for axis in geometry)
    if min(sizes) < 1:
        raise _misfit(connection.name, f"kernel {weight_shape} is larger than input shape {shape}")
    return (weight_shape[0], *sizes)


def map_range(edge: Range, maps: Iterable[Map]) -> Range:
    """Integer range after weightless maps: a sum pool multiplies it by ``k²``; padding adds zeros to it.

    Example:
        >>> map_range((0, 1), (SumPool((2, 2), (2, 2), (0, 0)),))
        (0, 4)
    """
    lo, hi = edge
    for part in maps:
        if isinstance(part, SumPool):
            if any(part.padding):
                lo, hi = min(lo, 0), max(hi, 0)
            lo, hi = lo * prod(part.kernel), hi * prod(part.kernel)
    return lo, hi


def sum_pool(values: NDArray[np.float64], pool: SumPool) -> NDArray[np.float64]:
    """Sums over windows of the last two axes, times the pool's scale; zeros outside.

    Example:
        >>> sum_pool(np.ones((1, 4, 4)), SumPool((2, 2), (2, 2), (0, 0))).tolist()
        [[[4.0, 4.0], [4.0, 4.0]]]
    """
    rows, columns = pool.padding
    padded = np.pad(values, [(0, 0)] * (values.ndim - 2) + [(rows, rows), (columns, columns)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, pool.kernel, axis=(-2, -1))
    strided = windows[..., :: pool.stride[0], :: pool.stride[1], :, :]
    total: NDArray[np.float64] = strided.sum(axis=(-2, -1)) * pool.scale
    return total


def apply_maps(values: NDArray[np.float64], maps: Iterable[Map]) -> NDArray[np.float64]:
    """Weightless maps on one array of neuron axes."""
    for part in maps:
        if isinstance(part, SumPool):
            values = sum_pool(values, part)
        elif isinstance(part, Scale):
            values = values * part.factor
        else:
            values = values.reshape(map_shape(values.shape, (part,), ""))
    return values


def _misfit(name: str, detail: str) -> NotRepresentable:
    return NotRepresentable("shape_conflict", f"connection {name!r}: {detail}", name)
