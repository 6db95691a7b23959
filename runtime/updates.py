"""Which neuron updates an event-driven runner needs: the others it skips and makes up for later, exactly.

A neuron may be skipped in a step in which nothing arrives, as long as its leak alone can neither make it fire nor move
it past its floor: not where it has a bias, a start, a threshold at or below 0, a floor above 0 or a growing leak, nor
after its own spike (a delayed reset, or what is left above the threshold), nor, where it has a current, after the first
arrival, for the current keeps moving the membrane.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.program import INPUT, Connection, IntArray, Layer, Leak, Program
from runtime.runner import late
from runtime.sums import synaptic_sum

Mask = NDArray[np.bool_]


def needed_updates(program: Program, x: IntArray, spikes: dict[str, NDArray[Any]]) -> dict[str, Mask]:
    """Per layer ``[sample, time, neuron...]``: whether the neuron must be updated in that step.

    Args:
        program: what ran.
        x: its clamped input ``[sample, time, *input_shape]``.
        spikes: of every layer.
    """
    found = {}
    for layer in program.layers:
        needed = np.zeros((*x.shape[:2], *layer.shape), dtype=bool) | _always(layer)
        for connection in program.into(layer.name):
            needed |= _arrivals(connection, x if connection.source == INPUT else spikes[connection.source])
        if layer.leak_i is not None:
            needed = np.logical_or.accumulate(needed, axis=1)
        needed[:, 1:] |= spikes[layer.name][:, :-1] > 0
        found[layer.name] = needed
    return found


def _arrivals(connection: Connection, values: NDArray[Any]) -> Mask:
    """Whether a value that is not 0 reaches each target neuron over a weight that is not 0."""
    active = late(connection, np.swapaxes(values != 0, 0, 1).astype(np.int64))  # [time, sample, ...]
    weight = None if connection.weight is None else (connection.weight != 0).astype(np.int64)
    structure = replace(connection, weight=weight, exponent=np.zeros((), dtype=np.int64))
    sums = synaptic_sum(structure, active.reshape(-1, *active.shape[2:]))
    return np.swapaxes(sums.reshape(*active.shape[:2], *sums.shape[1:]) > 0, 0, 1)


def _always(layer: Layer) -> Mask:
    """Neurons that may fire or move although nothing arrives."""
    mask = np.zeros(layer.shape, dtype=bool)
    for values in (layer.bias, layer.bias_i, layer.start):
        mask |= False if values is None else values != 0
    mask |= False if layer.fire_at is None else layer.fire_at <= 0
    mask |= False if layer.floor is None else layer.floor > 0
    return mask | _grows(layer.leak_v) | (False if layer.leak_i is None else _grows(layer.leak_i))


def _grows(leak: Leak) -> Mask:
    """Whether a leak may enlarge a state or change its sign."""
    if leak.kind != "mul_shift" or leak.values is None:
        return np.zeros((), dtype=bool)
    return (leak.values < 0) | (leak.values > 1 << leak.shift_bits)
