"""One step of one neuron layer, the seven points of docs/program.md in their order. Axes ``[sample, neuron...]``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.errors import ProgramError
from runtime.program import IntArray, Layer, Leak


@dataclass(frozen=True)
class State:
    """Membrane, current (None where the layer has none) and the spikes of the step before; ``[sample, neuron...]``."""

    v: IntArray
    i: IntArray | None
    n: IntArray


def start_state(layer: Layer, samples: int) -> State:
    """The state before the first step."""
    zero = np.zeros((samples, *layer.shape), dtype=np.int64)
    v = zero if layer.start is None else np.broadcast_to(layer.start, zero.shape)
    return State(v, None if layer.leak_i is None else zero, zero)


def step(layer: Layer, state: State, sums: IntArray) -> tuple[State, int]:
    """The state after one step; its ``n`` are the step's spikes. And how many values saturated.

    Args:
        layer: the neurons.
        state: at the end of the step before.
        sums: all synaptic sums, fraction bits included ``[sample, neuron...]``.
    """
    v, old, before = state.v, state.i, state.n
    late = layer.reset_timing == "next_step"
    if late and layer.reset_order == "before_leak":  # 1
        v = _reset(layer, v, before)
    i, lost = old, 0
    if layer.leak_i is not None and old is not None:  # 2
        i, lost = _saturate(layer, _leak(layer.leak_i, old) + sums + (0 if layer.bias_i is None else layer.bias_i))
    w = _leak(layer.leak_v, v)  # 3
    if late and layer.reset_order == "after_leak":
        w = _reset(layer, w, before)
    enters = sums if i is None or old is None else i if layer.current == "new" else old
    v, more = _saturate(layer, w + enters + (0 if layer.bias is None else layer.bias))  # 4
    lost += more
    if layer.drop_reset_input:
        v = np.where(before > 0, _need(layer.reset_to, layer, "reset_to"), v)
    if layer.floor is not None:  # 5
        v = np.maximum(v, layer.floor)
    n = _spikes(layer, v)  # 6
    if not late:  # 7
        v = _reset(layer, v, n)
        if layer.reset == "subtract":
            v, more = _saturate(layer, v)
            lost += more
    return State(v, i, n), lost


def _leak(leak: Leak, s: IntArray) -> IntArray:
    if leak.values is None:
        return s
    if leak.kind == "shift":
        return s - _shifted(s, leak.values, leak.rounding)
    return _shifted(leak.values * s, np.asarray(leak.shift_bits, dtype=np.int64), leak.rounding)


def _shifted(s: IntArray, bits: IntArray, rounding: str) -> IntArray:
    """``s / 2**bits``, rounded: ``>>`` of a negative number floors."""
    if rounding == "floor":
        return s >> bits
    if rounding == "toward_zero":
        truncated: IntArray = np.sign(s) * (np.abs(s) >> bits)
        return truncated
    half = (np.int64(1) << bits) >> 1
    return (s + half) >> bits


def _reset(layer: Layer, v: IntArray, n: IntArray) -> IntArray:
    if layer.reset == "subtract":
        return v - n * _need(layer.reset_sub, layer, "reset_sub")
    if layer.reset == "to_value":
        return np.where(n > 0, _need(layer.reset_to, layer, "reset_to"), v)
    return v


def _spikes(layer: Layer, v: IntArray) -> IntArray:
    if layer.fire_at is None:
        return np.zeros_like(v)
    fires = v >= layer.fire_at
    if layer.max_spikes == 1:
        return fires.astype(np.int64)
    several = 1 + (v - layer.fire_at) // _need(layer.reset_sub, layer, "reset_sub")
    return np.where(fires, np.minimum(several, layer.max_spikes), 0)


def _saturate(layer: Layer, v: IntArray) -> tuple[IntArray, int]:
    """The limited value, and how many were outside."""
    limited = np.clip(v, *layer.limits)
    return limited, int(np.count_nonzero(limited != v))


def _need(values: IntArray | None, layer: Layer, what: str) -> IntArray:
    if values is None:
        raise ProgramError(f"layer {layer.name!r} needs {what}, which the program does not have")
    return values
