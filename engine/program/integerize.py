"""From a float network with integer weights to an integer program (DESIGN 5).

The roundings are those of :mod:`engine.program.rounding`, which the training form shares: what was trained is what is
written. With u a neuron's base scale,
g its gain (``r``, ``w_in``, ``dt/tau`` folded) and f its layer's fraction bits, one unit of state is worth
``unit = u·g·2**-f`` of the float membrane; thresholds, resets and drive are divided by ``unit``, connection biases
(which enter before the gain) by ``u·2**-f``. Shared kernels never see a neuron's gain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from engine.errors import NotRepresentable
from engine.network.model import Array, Flatten, Map, Network, NeuronLayer, Scale, SumPool
from engine.network.model import Connection as FloatConnection
from engine.program.geometry import apply_maps, sum_shape
from engine.program.program import Connection, InputFormat, IntArray, IntegerProgram, Layer, Leak
from engine.program.rounding import check_programmable, integer_level, integer_thresholds, leak_entry
from engine.specs.dynamics import Dynamics
from engine.specs.plan import LeakForm, NeuronPlan, Plan


@dataclass(frozen=True)
class IntegerWeights:
    """Integers of one connection: ``weight ≈ values · scale · 2**exponent / pool_factor(connection)``.

    ``exponent`` is a scalar or one value per output row or channel.
    """

    values: IntArray
    exponent: IntArray | int = 0


def pool_factor(connection: FloatConnection) -> float:
    """Product of the average pools' ``1/k²`` around a connection: it belongs into the connection's scale.

    The integers to find are ``weight · pool_factor / (u·2**e)``.
    """
    factor = 1.0
    for part in (*connection.before, *connection.after):
        if isinstance(part, SumPool):
            factor *= part.scale
    if factor <= 0:
        raise NotRepresentable(
            "non_positive_factor",
            f"pool around {connection.name!r}: factor must be > 0, found {factor:g}",
            connection.name,
        )
    return factor


def merged_bias(network: Network, target: str) -> Array:
    """Sum of the biases of all connections into a layer, each carried through its ``after`` maps, before the gain.

    Returns:
        float64 of the layer's shape.
    """
    total = np.zeros(network.layer(target).shape)
    for connection in network.into(target):
        if connection.bias is not None:
            total = total + _spread(connection.bias, connection)
    return total


def integer_layer(
    layer: NeuronLayer, dynamics: Dynamics, plan: NeuronPlan, scale: ArrayLike, bias: ArrayLike, output: bool = False
) -> Layer:
    """One neuron layer in integers.

    Args:
        layer: the float layer (learned thresholds, decays and so on already in it).
        dynamics: the network's profile.
        plan: state width, fraction bits and leak form.
        scale: u, broadcastable to the layer's shape, positive; used as float32.
        bias: merged connection biases, before the gain (:func:`merged_bias`).
        output: the layer's membrane is read out, so it needs one unit.

    Raises:
        NotRepresentable: a factor is not positive, or an integer leaves the state's range; the neuron is named.
    """
    dynamics = layer.obeys(dynamics)
    u = np.broadcast_to(np.asarray(scale, dtype=np.float32).astype(np.float64), layer.shape)
    _require_positive(u, layer.name, "scale")
    _require_positive(layer.gain, layer.name, "gain (r, w_in and dt/tau)")
    inner = u * 2.0**-plan.fraction_bits
    unit = inner * layer.gain
    if output and np.unique(unit).size != 1:
        raise NotRepresentable(
            "several_units",
            f"membrane of {layer.name!r} is read out: all neurons need one unit, found {float(unit.min()):g} to "
            f"{float(unit.max()):g}",
            layer.name,
        )
    summed = np.asarray(bias, dtype=np.float64)
    current = layer.decay_i is not None
    membrane = layer.drive / unit if current else layer.drive / unit + summed / inner
    made = Layer(
        name=layer.name,
        kind="lif" if layer.kind == "threshold" else layer.kind,  # with a decay of 0 and no reset
        shape=layer.shape,
        state_bits=plan.state_bits,
        fraction_bits=plan.fraction_bits,
        scale=u.astype(np.float32),
        leak_v=_named_leak(layer.decay_v, plan.leak, layer.name),
        leak_i=_named_leak(layer.decay_i, plan.leak, layer.name) if layer.decay_i is not None else None,
        bias=integer_level(membrane, 1.0, plan.level_bits),
        bias_i=integer_level(summed, inner, plan.level_bits) if current else None,
        current=dynamics.current,
        floor=_floor(layer, dynamics, unit, plan.level_bits),
        start=_start(layer, dynamics, unit, plan.level_bits),
    )
    return made if layer.threshold is None else _spiking(made, layer, dynamics, unit, plan.level_bits)


def integerize(
    network: Network,
    plan: Plan,
    weights: Mapping[str, IntegerWeights],
    scales: Mapping[str, ArrayLike],
    input_range: tuple[int, int] = (0, 1),
) -> IntegerProgram:
    """The integer program of a network whose weights are already integers.

    Args:
        network: the float network with everything that training changed.
        plan: widths by connection name, state by layer name (layers left out take the defaults).
        weights: integers of every weighted connection, by name.
        scales: u of every layer, by name, broadcastable to its shape.
        input_range: smallest and largest input value.

    Returns:
        a checked :class:`IntegerProgram`.

    Raises:
        NotRepresentable: something cannot be written in integers; the message names the node.
    """
    check_programmable(network)
    layers = tuple(
        integer_layer(
            layer,
            network.dynamics,
            plan.neurons.get(layer.name, NeuronPlan()),
            scales[layer.name],
            merged_bias(network, layer.name),
            output=layer.name == network.output and network.dynamics.readout != "spike_count",
        )
        for layer in network.layers
    )
    connections = tuple(
        _connection(c, plan, weights) if c.weight is not None else _identity(c, scales[c.target])
        for c in network.connections
    )
    return IntegerProgram(
        input=InputFormat(network.input_shape, *input_range),
        layers=layers,
        connections=connections,
        output=network.output,
        readout=network.dynamics.readout,
    )


def _connection(connection: FloatConnection, plan: Plan, weights: Mapping[str, IntegerWeights]) -> Connection:
    """Geometry copied, pools without their factor (it is in the scale)."""
    pool_factor(connection)
    for table, what in ((weights, "integer weights"), (plan.weights, "plan entry")):
        if connection.name not in table:
            raise NotRepresentable("invalid_plan", f"no {what} for layer {connection.name!r}", connection.name)
    integers = weights[connection.name]
    expected = None if connection.weight is None else connection.weight.shape
    if integers.values.shape != expected:
        raise NotRepresentable(
            "shape_conflict",
            f"integers of {connection.name!r}: expected shape {expected}, found {integers.values.shape}",
            connection.name,
        )
    return Connection(
        name=connection.name,
        source=connection.source,
        target=connection.target,
        kind=connection.kind,
        source_shape=connection.source_shape,
        target_shape=connection.target_shape,
        bits=plan.weights[connection.name].bits,
        weight=integers.values,
        exponent=integers.exponent,
        before=tuple(_unscaled(part) for part in connection.before),
        after=tuple(_unscaled(part) for part in connection.after),
        delayed=connection.delayed,
        stride=connection.stride,
        padding=connection.padding,
        dilation=connection.dilation,
        groups=connection.groups,
        delay=connection.delay,
    )


def _identity(connection: FloatConnection, scale: ArrayLike) -> Connection:
    """A connection without weights: a spike is worth ``pool_factor = u·2**e``, so their ratio must be a power of 2."""
    ratio = np.unique(pool_factor(connection) / np.asarray(scale, dtype=np.float32).astype(np.float64))
    exponent = np.floor(np.log2(ratio) + 0.5)
    if ratio.size != 1 or abs(ratio[0] / 2.0 ** exponent[0] - 1) > 1e-6 or exponent[0] < 0:
        raise NotRepresentable(
            "unsupported_graph",
            f"connection {connection.name!r} has no weights: one spike must be worth the scale of "
            f"{connection.target!r} times a power of two, found a factor of {ratio[0]:g}",
            connection.name,
        )
    return Connection(
        name=connection.name,
        source=connection.source,
        target=connection.target,
        kind="identity",
        source_shape=connection.source_shape,
        target_shape=connection.target_shape,
        exponent=np.asarray(exponent[0], dtype=np.int64),
        before=tuple(_unscaled(part) for part in (*connection.before, *connection.after)),
        delayed=connection.delayed,
        delay=connection.delay,
    )


def _spiking(made: Layer, layer: NeuronLayer, dynamics: Dynamics, unit: Array, level_bits: int) -> Layer:
    """Thresholds and resets of a layer that fires."""
    many = dynamics.spikes_per_step == "many"
    if layer.threshold is None:
        raise TypeError("a layer that spikes has a threshold")
    fire_at, reset_sub = integer_thresholds(layer.threshold, unit, dynamics.spike_test, level_bits)
    subtracts = dynamics.reset == "subtract" or many
    drops = dynamics.drop_reset_input and dynamics.reset != "none"
    to_value = dynamics.reset == "to_value" or drops
    return replace(
        made,
        fire_at=fire_at,
        reset=dynamics.reset,
        reset_sub=reset_sub if subtracts else None,
        reset_to=integer_level(layer.v_reset, unit, level_bits) if to_value else None,
        reset_timing=dynamics.reset_timing,
        reset_order=dynamics.reset_order,
        drop_reset_input=drops,
        max_spikes=(dynamics.max_spikes or 1) if many else 1,
    )


def _start(layer: NeuronLayer, dynamics: Dynamics, unit: Array, level_bits: int) -> IntArray | None:
    """The membrane before the first step."""
    values = {"zero": None, "v_reset": layer.v_reset, "v_leak": layer.v_leak}[dynamics.start]
    return None if values is None else integer_level(values, unit, level_bits)


def _floor(layer: NeuronLayer, dynamics: Dynamics, unit: Array, level_bits: int) -> IntArray | None:
    """The membrane's floor; only layers that fire have one (the profile's floor belongs to its spiking neuron)."""
    if dynamics.membrane_floor == "none" or layer.threshold is None:
        return None
    if dynamics.membrane_floor == "minus_threshold":
        return integer_level(-layer.threshold, unit, level_bits)
    return integer_level(dynamics.membrane_floor, unit, level_bits)


def _named_leak(decay: Array, form: LeakForm, name: str) -> Leak:
    try:
        return leak_entry(decay, form)
    except NotRepresentable as error:
        raise NotRepresentable(error.code, f"layer {name!r}: {error.detail}", name) from error


def _unscaled(part: Map) -> SumPool | Flatten:
    if isinstance(part, Scale):
        raise TypeError("check_programmable lets no Scale through")
    return replace(part, scale=1.0) if isinstance(part, SumPool) else part


def _spread(bias: Array, connection: FloatConnection) -> Array:
    """A connection's bias as what it adds to each neuron of its target."""
    shape = sum_shape(connection, None if connection.weight is None else connection.weight.shape)
    column = bias.reshape(-1, *[1] * (len(shape) - 1))  # [out, 1, 1] or [out]
    return apply_maps(np.broadcast_to(column, shape), connection.after)


def _require_positive(values: Array, name: str, what: str) -> None:
    bad = np.argwhere(~(values > 0))
    if bad.size:
        where = tuple(int(n) for n in bad[0])
        raise NotRepresentable(
            "non_positive_factor",
            f"{what} of neuron {name}[{', '.join(map(str, where))}] must be > 0, found {float(values[where]):g}",
            name,
        )
