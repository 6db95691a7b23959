"""From a NIR neuron's differential equation to the factors of one time step (DESIGN 4.2).

With ``k = dt/tau`` and forward Euler a leak is ``v' = (1 − k)·v + k·(v_leak + r·I)``; the exponential form has
``e^(−k)`` in place of ``1 − k``, and so ``1 − e^(−k)`` in place of ``k``. IF: ``v' = v + dt·r·I`` in both. The
profile's ``current_gain`` and ``membrane_gain`` replace the input's factor where a framework does not follow the
equation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from engine.errors import InvalidModel
from engine.network.fields import Shape
from engine.network.model import Array, NeuronLayer
from engine.network.nodes import IF, LI, LIF, CubaLI, CubaLIF, I, Neuron, Threshold
from engine.specs.dynamics import Dynamics

TOLERANCE = 1e-6  # dt/tau of a float32 tau may exceed 1 by rounding; such a decay is 0


def make_layer(name: str, node: Neuron, shape: Shape, dynamics: Dynamics) -> NeuronLayer:
    """One neuron layer of the discrete network.

    Args:
        name: the NIR node's name.
        node: its parameters, arrays of the layer's shape or single numbers.
        shape: the layer's shape.
        dynamics: time step, integrator, and a ``v_reset`` that overrides the file's.

    Returns:
        The layer, every array float64 of ``shape``.

    Raises:
        InvalidModel: ``invalid_parameter`` for a gain that is not positive, or a reset to or above the threshold;
            ``invalid_dynamics`` where ``dt_s`` is longer than a time constant. The message names the node.
    """
    layer = _LAYERS[type(node)](name, node, shape, dynamics)
    _check_positive(name, "the gain of its input", layer.gain)
    resets = layer.obeys(dynamics).reset == "to_value"
    if layer.threshold is not None and resets and not (layer.v_reset < layer.threshold).all():
        raise InvalidModel("invalid_parameter", f"node {name!r}: expected v_reset below v_threshold", name)
    return layer


def membrane_layer(name: str, shape: Shape) -> NeuronLayer:
    """A layer that holds the sum of its connections for one step: ``v' = I``."""
    ones, zeros = _full(1.0, shape), _full(0.0, shape)
    return NeuronLayer(name, "li", shape, decay_v=zeros, gain=ones, drive=zeros, v_leak=zeros, v_reset=zeros)


def _if_layer(name: str, node: IF, shape: Shape, dynamics: Dynamics) -> NeuronLayer:
    r = _positive(name, "r", node.r, shape)
    zeros = _full(0.0, shape)
    return NeuronLayer(
        name,
        "if",
        shape,
        decay_v=_full(1.0, shape),
        gain=r * dynamics.dt_s,
        drive=zeros,
        v_leak=zeros,
        v_reset=_v_reset(node.v_reset, shape, dynamics),
        threshold=_full(node.v_threshold, shape),
    )


def _lif_layer(name: str, node: LIF, shape: Shape, dynamics: Dynamics) -> NeuronLayer:
    decay, enter = _leak(name, "tau", node.tau, shape, dynamics)
    v_leak = _full(node.v_leak, shape)
    return NeuronLayer(
        name,
        "lif",
        shape,
        decay_v=decay,
        gain=_membrane_gain(name, node.r, shape, enter, dynamics),
        drive=v_leak * enter,
        v_leak=v_leak,
        v_reset=_v_reset(node.v_reset, shape, dynamics),
        threshold=_full(node.v_threshold, shape),
    )


def _li_layer(name: str, node: LI, shape: Shape, dynamics: Dynamics) -> NeuronLayer:
    decay, enter = _leak(name, "tau", node.tau, shape, dynamics)
    v_leak = _full(node.v_leak, shape)
    return NeuronLayer(
        name,
        "li",
        shape,
        decay_v=decay,
        gain=_membrane_gain(name, node.r, shape, enter, dynamics),
        drive=v_leak * enter,
        v_leak=v_leak,
        v_reset=_full(0.0, shape),
    )


def _integrator_layer(name: str, node: I, shape: Shape, dynamics: Dynamics) -> NeuronLayer:
    gain, zeros = _positive(name, "r", node.r, shape) * dynamics.dt_s, _full(0.0, shape)
    return NeuronLayer(name, "li", shape, _full(1.0, shape), gain, drive=zeros, v_leak=zeros, v_reset=zeros)


def _threshold_layer(name: str, node: Threshold, shape: Shape, dynamics: Dynamics) -> NeuronLayer:
    held = membrane_layer(name, shape)
    return replace(held, kind="threshold", threshold=_full(node.threshold, shape))


def _cubali_layer(name: str, node: CubaLI | CubaLIF, shape: Shape, dynamics: Dynamics) -> NeuronLayer:
    decay_v, enter_v = _leak(name, "tau_mem", node.tau_mem, shape, dynamics)
    decay_i, enter_i = _leak(name, "tau_syn", node.tau_syn, shape, dynamics)
    w_in = _positive(name, "w_in", 1.0 if node.w_in is None else node.w_in, shape)
    v_leak = _full(node.v_leak, shape)
    return NeuronLayer(
        name,
        "cubali",
        shape,
        decay_v=decay_v,
        gain=_CURRENT_GAIN[dynamics.current_gain](w_in, decay_i, enter_i)
        * _membrane_gain(name, node.r, shape, enter_v, dynamics),
        drive=v_leak * enter_v,
        v_leak=v_leak,
        v_reset=_full(0.0, shape),
        decay_i=decay_i,
    )


def _cubalif_layer(name: str, node: CubaLIF, shape: Shape, dynamics: Dynamics) -> NeuronLayer:
    return replace(
        _cubali_layer(name, node, shape, dynamics),
        kind="cubalif",
        v_reset=_v_reset(node.v_reset, shape, dynamics),
        threshold=_full(node.v_threshold, shape),
    )


_LAYERS: dict[type[Neuron], Callable[[str, Any, Shape, Dynamics], NeuronLayer]] = {
    IF: _if_layer,
    LIF: _lif_layer,
    LI: _li_layer,
    CubaLIF: _cubalif_layer,
    CubaLI: _cubali_layer,
    I: _integrator_layer,
    Threshold: _threshold_layer,
}


_CURRENT_GAIN: dict[str, Callable[[Array, Array, Array], Array]] = {
    "ode": lambda w_in, decay, enter: w_in * enter,
    "jump": lambda w_in, decay, enter: w_in,
    "decayed_jump": lambda w_in, decay, enter: w_in * decay,
}


def _membrane_gain(name: str, r: Any, shape: Shape, enter: Array, dynamics: Dynamics) -> Array:
    """What an input of 1 adds to a leaky membrane in one step."""
    resistance = _positive(name, "r", r, shape)
    return resistance * enter if dynamics.membrane_gain == "ode" else _full(1.0, shape)


def _leak(name: str, field: str, tau: Any, shape: Shape, dynamics: Dynamics) -> tuple[Array, Array]:
    """Decay per step, and the share ``1 − decay`` with which input enters."""
    rate = dynamics.dt_s / _full(tau, shape)
    if dynamics.integrator == "exponential":
        return np.exp(-rate), -np.expm1(-rate)
    if (rate > 1 + TOLERANCE).any():
        least = float(np.min(tau))
        detail = f"node {name!r}: forward Euler needs dt_s ≤ {field}, found {dynamics.dt_s:.6g} s and {least:.6g} s"
        raise InvalidModel("invalid_dynamics", detail, name)
    return np.maximum(1.0 - rate, 0.0), rate


def _v_reset(value: Any, shape: Shape, dynamics: Dynamics) -> Array:
    if dynamics.v_reset is not None:
        return _full(dynamics.v_reset, shape)
    return _full(0.0 if value is None else value, shape)


def _positive(name: str, field: str, value: Any, shape: Shape) -> Array:
    array = _full(value, shape)
    _check_positive(name, f"parameter {field!r}", array)
    return array


def _check_positive(name: str, what: str, array: Array) -> None:
    if not (array > 0).all() or not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~((array > 0) & np.isfinite(array)))[0])
        detail = f"node {name!r}: expected {what} above 0, found {array[where]:g} at {where}"
        raise InvalidModel("invalid_parameter", detail, name)


def _full(value: Any, shape: Shape) -> Array:
    return np.array(np.broadcast_to(np.asarray(value, dtype=np.float64), shape))
