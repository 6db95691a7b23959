"""What a run costs, counted on its spikes: synaptic operations and neuron updates (docs/program.md, Cost)."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.program import INPUT, Connection, IntArray, Program
from runtime.sums import apply_map


@dataclass(frozen=True)
class Operations:
    """Sums over samples and steps.

    ``synaptic``: weights added for values that are not 0. ``dense``: multiply-adds of a runner that skips nothing.
    ``updates``: neuron updates of a runner that steps every neuron.
    """

    synaptic: int = 0
    dense: int = 0
    updates: int = 0

    def __add__(self, other: Operations) -> Operations:
        return Operations(self.synaptic + other.synaptic, self.dense + other.dense, self.updates + other.updates)


def count_operations(program: Program, x: IntArray, spikes: dict[str, NDArray[Any]]) -> Operations:
    """Count one run.

    Args:
        program: what ran.
        x: its clamped input ``[sample, time, *input_shape]``.
        spikes: of every layer ``[sample, time, *shape]``.

    A delay moves an event without removing it; events that a run ends before are counted as well.
    """
    steps = x.shape[0] * x.shape[1]
    synaptic = dense = 0
    for connection in program.connections:
        values = x if connection.source == INPUT else spikes[connection.source]
        active = values.reshape(steps, *values.shape[2:])
        for part in connection.before:
            active = apply_map(part, active.astype(np.int64))
        fan_out = _fan_out(connection, active.shape[1:])
        synaptic += int(((active != 0).sum(axis=0) * fan_out).sum())
        dense += int(fan_out.sum()) * steps
    return Operations(synaptic, dense, steps * sum(prod(layer.shape) for layer in program.layers))


def _fan_out(connection: Connection, shape: tuple[int, ...]) -> IntArray:
    """Weights that each value (after ``before``) meets: all outputs, or the kernel's windows that hold it."""
    if connection.weight is None:
        return np.ones(shape, dtype=np.int64)
    if connection.kind == "linear":
        return np.full(shape, connection.weight.shape[0], dtype=np.int64)
    return _windows(connection, shape)


def _windows(connection: Connection, shape: tuple[int, ...]) -> IntArray:
    """Windows of a convolution over each place, times its output channels per group."""
    axes = []
    weight = connection.weight
    if weight is None:
        raise ValueError(f"connection {connection.name!r} has no weights")
    for size, kernel, stride, padding, dilation in zip(
        shape[1:],
        weight.shape[2:],
        connection.stride,
        connection.padding,
        connection.dilation,
        strict=True,
    ):
        hits = np.zeros(size, dtype=np.int64)
        count = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        places = np.arange(count)[:, None] * stride + np.arange(kernel) * dilation - padding
        np.add.at(hits, places[(places >= 0) & (places < size)], 1)
        axes.append(hits)
    per_channel = axes[0] if len(axes) == 1 else np.multiply.outer(axes[0], axes[1])
    out = weight.shape[0] // connection.groups
    return np.broadcast_to(per_channel * out, shape).copy()
