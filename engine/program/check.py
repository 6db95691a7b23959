"""What a program must satisfy before anyone may run or write it; every refusal names layer, neuron or connection."""

from __future__ import annotations

import numpy as np

from engine.errors import NotRepresentable
from engine.program.bounds import program_bounds
from engine.program.geometry import map_shape, sum_shape
from engine.program.program import (
    INPUT,
    MAX_DELAY,
    MAX_EXPONENT,
    MAX_SPIKES,
    Connection,
    IntArray,
    IntegerProgram,
    Layer,
    Leak,
    SumPool,
    state_limits,
)


def check_program(program: IntegerProgram) -> None:
    """Raise :class:`NotRepresentable` where a program contradicts docs/program.md.

    Raises:
        NotRepresentable: with the name of what is wrong, what was expected and what was found.
    """
    names = [layer.name for layer in program.layers] + [c.name for c in program.connections]
    for name in names:
        if names.count(name) > 1 or name == INPUT:
            raise _invalid(f"the name {name!r} is used more than once", name)
    if program.input.lo > program.input.hi:
        raise _invalid(f"input range [{program.input.lo}, {program.input.hi}] is empty", INPUT)
    if program.input.scale is not None and not (np.isfinite(program.input.scale) and program.input.scale > 0):
        raise _invalid(f"input scale must be positive, found {program.input.scale}", INPUT)
    for layer in program.layers:
        _check_layer(layer)
    for connection in program.connections:
        _check_connection(program, connection)
    _check_output(program)
    program_bounds(program)


def _check_layer(layer: Layer) -> None:
    if not 2 <= layer.state_bits <= 32 or not 0 <= layer.fraction_bits <= 16:
        raise _invalid(
            f"layer {layer.name!r}: {layer.state_bits} state bits and {layer.fraction_bits} fraction bits; "
            "expected 2 to 32 and 0 to 16",
            layer.name,
        )
    if (layer.leak_i is not None) != (layer.kind in ("cubalif", "cubali")):
        raise _invalid(
            f"layer {layer.name!r} is {layer.kind}: a current leak belongs to cubalif and cubali alone", layer.name
        )
    if layer.bias_i is not None and layer.leak_i is None:
        raise _invalid(f"layer {layer.name!r} has no current, so no current bias", layer.name)
    if (layer.fire_at is None) != (layer.kind in ("li", "cubali")):
        raise _invalid(f"layer {layer.name!r} is {layer.kind}: li and cubali alone have no threshold", layer.name)
    for leak in (layer.leak_v, layer.leak_i):
        if leak is not None:
            _check_leak(leak, layer.name)
    for field in ("bias", "bias_i", "fire_at", "reset_to", "floor", "start"):
        _check_state_range(layer, field, getattr(layer, field))
    _check_reset(layer)


def _check_leak(leak: Leak, name: str) -> None:
    if (leak.values is None) != (leak.kind == "none"):
        raise _invalid(
            f"layer {name!r}: leak {leak.kind!r} has {'no' if leak.values is None else 'needless'} values", name
        )
    if leak.values is None:
        return
    lo, hi = (0, 31) if leak.kind == "shift" else (-(1 << 17), 1 << 17)
    if leak.values.min() < lo or leak.values.max() > hi or not 0 <= leak.shift_bits <= 31:
        raise _invalid(f"layer {name!r}: leak values outside [{lo}, {hi}] or shift outside [0, 31]", name)


def _check_state_range(layer: Layer, field: str, values: IntArray | None) -> None:
    """``fire_at`` above the maximum could never fire; a bias outside would saturate in one step."""
    if values is None:
        return
    lo, hi = layer.limits
    bad = np.argwhere((values < lo) | (values > hi))
    if bad.size:
        where = tuple(int(n) for n in bad[0])
        raise NotRepresentable(
            "state_range",
            f"{field} of neuron {layer.name}[{', '.join(map(str, where))}] is {int(values[where])}, outside the "
            f"{layer.state_bits}-bit state's [{lo}, {hi}]; use more state bits or fewer fraction bits",
            layer.name,
        )


def _check_reset(layer: Layer) -> None:
    name = layer.name
    if layer.fire_at is None:
        if layer.reset != "none" or layer.max_spikes != 1 or layer.drop_reset_input:
            raise _invalid(f"layer {name!r} never spikes, so it has no reset", name)
        return
    if not 1 <= layer.max_spikes <= MAX_SPIKES:
        raise _invalid(f"layer {name!r}: max_spikes {layer.max_spikes} is not within 1 to {MAX_SPIKES}", name)
    if layer.max_spikes > 1 and layer.reset == "to_value":
        raise _invalid(f"layer {name!r}: several spikes a step with a reset to a value are not defined", name)
    if (layer.reset_timing == "next_step") != (layer.reset_order is not None):
        raise _invalid(f"layer {name!r}: reset_order belongs to reset_timing next_step, and is needed there", name)
    if layer.drop_reset_input and (layer.reset == "none" or layer.reset_timing == "same_step"):
        raise _invalid(f"layer {name!r}: drop_reset_input belongs to a reset in the next step", name)
    if (layer.reset_sub is not None) != (layer.reset == "subtract" or layer.max_spikes > 1):
        raise _invalid(f"layer {name!r}: reset_sub belongs to reset by subtraction and to several spikes", name)
    if (layer.reset_to is not None) != (layer.reset == "to_value" or layer.drop_reset_input):
        raise _invalid(f"layer {name!r}: reset_to belongs to reset to a value and to drop_reset_input", name)
    if layer.reset_sub is not None:
        delta = layer.fire_at - layer.reset_sub
        smallest = 1 if layer.max_spikes > 1 else 0
        bad = np.argwhere((delta < 0) | (delta > 1) | (layer.reset_sub < smallest))
        if bad.size:
            where = tuple(int(n) for n in bad[0])
            raise NotRepresentable(
                "threshold_too_small",
                f"neuron {name}[{', '.join(map(str, where))}]: fire_at {int(layer.fire_at[where])}, reset_sub "
                f"{int(layer.reset_sub[where])}; expected fire_at - reset_sub in {{0, 1}} and reset_sub >= {smallest}; "
                "use more fraction bits",
                name,
            )


def _check_connection(program: IntegerProgram, connection: Connection) -> None:
    name = connection.name
    order = [layer.name for layer in program.layers]
    if connection.target not in order or connection.source not in (*order, INPUT):
        raise _invalid(
            f"connection {name!r} goes from {connection.source!r} to {connection.target!r}: no such layer", name
        )
    shape = program.input.shape
    if connection.source != INPUT:
        source = program.layer(connection.source)
        shape = source.shape
        if source.fire_at is None:
            raise NotRepresentable(
                "unsupported_graph",
                f"connection {name!r} reads the membrane of {source.name!r}: only spikes travel",
                name,
            )
        if not connection.delayed and order.index(source.name) >= order.index(connection.target):
            raise _invalid(f"connection {name!r} is not delayed, but its source does not run before its target", name)
    if connection.delay is not None and not 0 <= connection.delay.min() <= connection.delay.max() <= MAX_DELAY:
        raise _invalid(f"connection {name!r}: delays must be within 0 to {MAX_DELAY} steps", name)
    axes = 1 if connection.kind == "conv1d" else 2
    for what, values in (
        ("stride", connection.stride),
        ("padding", connection.padding),
        ("dilation", connection.dilation),
    ):
        if len(values) != axes:
            raise _invalid(f"connection {name!r} is {connection.kind}: {what} needs {axes} entries, has {values}", name)
    if shape != connection.source_shape:
        raise _invalid(f"connection {name!r}: source_shape {connection.source_shape}, but the source has {shape}", name)
    _check_weights(connection)
    summed = sum_shape(connection, None if connection.weight is None else connection.weight.shape)
    result = map_shape(summed, connection.after, name)
    target = program.layer(connection.target).shape
    if result != connection.target_shape or result != target:
        raise _invalid(
            f"connection {name!r} yields shape {result}; target_shape is {connection.target_shape}, "
            f"the target has {target}",
            name,
        )
    exponent = connection.exponents
    if exponent.ndim == 1 and exponent.shape != summed[:1]:
        raise _invalid(f"connection {name!r}: {exponent.size} exponents for {summed[0]} outputs", name)
    if exponent.min() < 0 or exponent.max() > MAX_EXPONENT:
        raise _invalid(f"connection {name!r}: exponents must be within 0 to {MAX_EXPONENT}", name)


def _check_weights(connection: Connection) -> None:
    name = connection.name
    if any(isinstance(part, SumPool) and part.scale != 1 for part in (*connection.before, *connection.after)):
        raise _invalid(f"connection {name!r}: an average pool's factor belongs into the scale", name)
    if (connection.weight is None) != (connection.kind == "identity"):
        raise _invalid(f"connection {name!r} is {connection.kind}: identity alone has no weights", name)
    if connection.weight is None:
        if connection.after:
            raise _invalid(f"connection {name!r} is identity: all its maps come before", name)
        return
    if not 1 <= connection.bits <= 16:
        raise _invalid(f"connection {name!r}: {connection.bits} bits; expected 1 to 16", name)
    if connection.bits == 1 and not np.all(np.abs(connection.weight) == 1):
        raise _invalid(f"connection {name!r}: 1-bit weights are -1 or 1", name)
    lo, hi = state_limits(connection.bits) if connection.bits > 1 else (-1, 1)
    if connection.weight.size == 0 or connection.weight.min() < lo or connection.weight.max() > hi:
        raise _invalid(f"connection {name!r}: weights outside [{lo}, {hi}]", name)


def _check_output(program: IntegerProgram) -> None:
    try:
        layer = program.layer(program.output)
    except KeyError as error:
        raise _invalid(str(error.args[0]), program.output) from error
    if program.readout == "spike_count" and layer.fire_at is None:
        raise _invalid(f"output {layer.name!r} never spikes; its membrane must be read out", layer.name)
    if program.readout != "spike_count" and np.unique(layer.scale).size != 1:
        raise _invalid(f"membrane of {layer.name!r} is read out: all neurons need one scale", layer.name)


def _invalid(detail: str, name: str) -> NotRepresentable:
    return NotRepresentable("invalid_program", detail, name)
