"""The float network, step by step in plain NumPy float64: the oracle of the fast simulation.

Axes: ``[time, batch, neuron...]``. The order of one step is that of DESIGN 5, with floats and no saturation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.network.model import INPUT, Array, Connection, Flatten, Map, Network, NeuronLayer, Scale
from engine.specs.dynamics import Dynamics


@dataclass
class State:
    """Membrane, current and the spikes of the step before, each ``[batch, neuron...]``."""

    v: Array
    i: Array
    spikes: Array


@dataclass(frozen=True)
class FloatRun:
    """``counts`` is the readout ``[batch, outputs]``; the rest per recorded layer ``[time, batch, neuron...]``.

    ``membranes`` are taken at the end of a step, after its reset.
    """

    counts: Array
    spikes: dict[str, Array]
    states: dict[str, State]
    membranes: dict[str, Array]


def simulate_floats(network: Network, x: NDArray[np.generic], record: Iterable[str] = ()) -> FloatRun:
    """Run a network over frames, one time step and one layer after the other.

    Args:
        network: the discrete network.
        x: frames ``[time, batch, *input_shape]``.
        record: names of layers whose spikes and membranes are kept; ``"*"`` keeps all.

    Returns:
        Readout, recorded spikes and membranes, and final states. A membrane readout takes the membrane at the end of a
        step, after the reset.
    """
    wanted = set(record)
    batch = x.shape[1]
    states = {layer.name: _start(layer, network.dynamics, batch) for layer in network.layers}
    kept: dict[str, list[Array]] = {n.name: [] for n in network.layers if "*" in wanted or n.name in wanted}
    membranes: dict[str, list[Array]] = {name: [] for name in kept}
    readout: list[Array] = []
    past: list[dict[str, Array]] = []
    for frame in x:
        new: dict[str, Array] = {INPUT: frame.astype(np.float64)}
        past.append(new)
        for layer in network.layers:
            total = np.zeros((batch, *layer.shape))
            for connection in network.into(layer.name):
                total += apply_connection(connection, _seen(connection, past, batch))
            new[layer.name] = step_neurons(layer, network.dynamics, states[layer.name], total)
            if layer.name in kept:
                kept[layer.name].append(new[layer.name])
                membranes[layer.name].append(states[layer.name].v.copy())
        last = states[network.output]
        readout.append(new[network.output] if network.dynamics.readout == "spike_count" else last.v.copy())
    counts = _READOUT[network.dynamics.readout](np.stack(readout)).reshape(batch, -1)
    return FloatRun(counts, _stack(kept), states, _stack(membranes))


def _seen(connection: Connection, past: list[dict[str, Array]], batch: int) -> Array:
    """What a connection sees now: each source neuron's value as many steps ago as it is late, 0 before the first."""
    shape = (batch, *connection.source_shape)
    late = np.broadcast_to(0 if connection.delay is None else connection.delay, shape[1:]) + int(connection.delayed)
    values = np.zeros(shape)
    for place in np.ndindex(*shape[1:]) if connection.delay is not None else [()]:
        then = len(past) - 1 - int(late[place].max())
        if then >= 0:
            values[(slice(None), *place)] = past[then][connection.source][(slice(None), *place)]
    return values


def _stack(parts: dict[str, list[Array]]) -> dict[str, Array]:
    return {name: np.stack(steps) for name, steps in parts.items()}


_READOUT: dict[str, Callable[[Array], Array]] = {
    "spike_count": lambda values: values.sum(axis=0),
    "membrane_sum": lambda values: values.sum(axis=0),
    "membrane_max": lambda values: values.max(axis=0),
    "membrane_last": lambda values: values[-1],
}


def step_neurons(layer: NeuronLayer, dynamics: Dynamics, state: State, total: Array) -> Array:
    """One step of one layer, in the order of DESIGN 5; changes ``state`` and returns the spikes."""
    dynamics = layer.obeys(dynamics)
    fired = state.spikes > 0
    theta = np.zeros(layer.shape) if layer.threshold is None else layer.threshold
    v = before = state.v
    if dynamics.reset_order == "before_leak":
        v = _reset(layer, dynamics, v, state.spikes)
    enters = layer.gain * total
    if layer.decay_i is not None:
        old = state.i
        state.i = layer.decay_i * old + enters
        enters = state.i if dynamics.current == "new" else old
    v = layer.decay_v * v
    if dynamics.reset_order == "after_leak":
        v = _reset(layer, dynamics, v, state.spikes)
    v = v + enters + layer.drive
    if dynamics.drop_reset_input:
        v = np.where(fired, layer.v_reset, v)
    if layer.threshold is None:
        state.v = v
        return np.zeros_like(v)
    if dynamics.membrane_floor != "none":
        v = np.maximum(v, -theta if dynamics.membrane_floor == "minus_threshold" else dynamics.membrane_floor)
    tested = v - theta * (before > theta) if dynamics.residue == "raises_threshold" else v
    spikes = (tested > theta if dynamics.spike_test == "gt" else tested >= theta).astype(np.float64)
    if dynamics.spikes_per_step == "many" and dynamics.max_spikes is not None:
        spikes *= np.minimum(1 + np.floor((v - theta) / theta), dynamics.max_spikes)
    if dynamics.reset_timing == "same_step":
        v = _reset(layer, dynamics, v, spikes)
    state.v, state.spikes = v, spikes
    return spikes


def _reset(layer: NeuronLayer, dynamics: Dynamics, v: Array, spikes: Array) -> Array:
    if layer.threshold is None or dynamics.reset == "none":
        return v
    if dynamics.reset == "to_value":
        return np.where(spikes > 0, layer.v_reset, v)
    return v - spikes * layer.threshold


def _start(layer: NeuronLayer, dynamics: Dynamics, batch: int) -> State:
    dynamics = layer.obeys(dynamics)
    first = {"zero": np.zeros(layer.shape), "v_reset": layer.v_reset, "v_leak": layer.v_leak}[dynamics.start]
    shape = (batch, *layer.shape)
    return State(np.array(np.broadcast_to(first, shape)), np.zeros(shape), np.zeros(shape))


def apply_connection(connection: Connection, spikes: Array) -> Array:
    """What a connection adds to its target's sum: ``[batch, *source_shape]`` to ``[batch, *target_shape]``."""
    y = spikes
    for step in connection.before:
        y = _apply_map(step, y)
    weight = connection.weight
    if connection.kind == "linear" and weight is not None:
        y = y @ weight.T  # [batch, out]
    elif connection.kind == "conv1d" and weight is not None:
        y = _convolve(y[:, :, None], weight[:, :, None], connection)[:, :, 0]  # an image of one row
    elif connection.kind == "conv2d" and weight is not None:
        y = _convolve(y, weight, connection)
    if connection.bias is not None:
        y = y + connection.bias.reshape(-1, *([1] * (y.ndim - 2)))
    for step in connection.after:
        y = _apply_map(step, y)
    return y


def _apply_map(step: Map, x: Array) -> Array:
    if isinstance(step, Flatten):
        inner = x.shape[1:]
        return x.reshape(x.shape[0], *inner[: step.start], -1, *inner[step.end + 1 :])
    if isinstance(step, Scale):
        return x * step.factor
    views = _windows(x, step.kernel, step.stride, step.padding, (1, 1))
    total: Array = views.sum(axis=(-2, -1))
    return total * step.scale


def _convolve(x: Array, weight: Array, connection: Connection) -> Array:
    stride, padding, dilation = (
        (1, *connection.stride)[-2:],
        (0, *connection.padding)[-2:],
        (1, *connection.dilation)[-2:],
    )
    views = _windows(x, weight.shape[2:], stride, padding, dilation)  # [batch, in, h, w, kh, kw]
    groups = connection.groups
    outs = []
    for views_g, weight_g in zip(np.split(views, groups, axis=1), np.split(weight, groups), strict=True):
        outs.append(np.tensordot(views_g, weight_g, axes=([1, 4, 5], [1, 2, 3])))  # [batch, h, w, out]
    return np.moveaxis(np.concatenate(outs, axis=-1), -1, 1)  # [batch, out, h, w]


def _windows(
    x: Array, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...]
) -> Array:
    """All windows of the last two axes: ``[batch, channel, h', w', kh, kw]``."""
    padded = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    span = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    views = np.lib.stride_tricks.sliding_window_view(padded, span, axis=(2, 3))
    return views[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
