"""What a run costs, counted on its spikes: synaptic operations and neuron updates (docs/program.md, Cost)."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.program import INPUT, Connection, IntArray, Program
from runtime.sums import apply_map
from runtime.updates import needed_updates


@dataclass(frozen=True)
class Operations:
    """Sums over samples and steps.

    ``synaptic``: weights added for values that are not 0. ``dense``: multiply-adds of a runner that skips nothing.
    ``updates``: neuron updates of a runner that steps every neuron; ``needed``: those of one that skips
    (:mod:`runtime.updates`). ``multiplied``: products among them, of values beyond ±1 and of leaks. ``moved_bits``:
    weights read and states read and written, at declared widths. ``dense_...``: the same where nothing is skipped.
    """

    synaptic: int = 0
    dense: int = 0
    updates: int = 0
    needed: int = 0
    multiplied: int = 0
    dense_multiplied: int = 0
    moved_bits: int = 0
    dense_moved_bits: int = 0

    def __add__(self, other: Operations) -> Operations:
        return Operations(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def count_operations(program: Program, x: IntArray, spikes: dict[str, NDArray[Any]]) -> Operations:
    """Count one run.

    Args:
        program: what ran.
        x: its clamped input ``[sample, time, *input_shape]``.
        spikes: of every layer ``[sample, time, *shape]``.

    A delay moves an event without removing it; events that a run ends before are counted as well.
    """
    steps = x.shape[0] * x.shape[1]
    total = Operations()
    for connection in program.connections:
        values = x if connection.source == INPUT else spikes[connection.source]
        active = values.reshape(steps, *values.shape[2:])
        for part in connection.before:
            active = apply_map(part, active.astype(np.int64))
        fan_out = _fan_out(connection, active.shape[1:])
        synaptic, dense = int(((active != 0).sum(axis=0) * fan_out).sum()), int(fan_out.sum()) * steps
        wide = connection.weight is not None and max(map(abs, connection.values)) > 1
        total += Operations(
            synaptic=synaptic, dense=dense, multiplied=synaptic * wide, dense_multiplied=dense * wide,
            moved_bits=synaptic * connection.bits, dense_moved_bits=dense * connection.bits,
        )  # fmt: skip
    needed = needed_updates(program, x, spikes)
    for layer in program.layers:
        every, some = steps * prod(layer.shape), int(needed[layer.name].sum())
        products = sum(leak is not None and leak.kind == "mul_shift" for leak in (layer.leak_v, layer.leak_i))
        bits = 2 * layer.state_bits * (1 if layer.leak_i is None else 2)  # read and written
        total += Operations(
            updates=every, needed=some, multiplied=some * products, dense_multiplied=every * products,
            moved_bits=some * bits, dense_moved_bits=every * bits,
        )  # fmt: skip
    return total


def state_bytes(program: Program) -> int:
    """Membranes and currents at their declared widths; the spikes that delays and resets keep are left out."""
    bits = [prod(la.shape) * la.state_bits * (1 if la.leak_i is None else 2) for la in program.layers]
    return -(-sum(bits) // 8)


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
