"""A program as a float graph in its own integers: NIR nodes and a profile that say the same numbers.

One unit of a layer's membrane is ``2^-k`` of a state unit, k such that the largest threshold is at most 1: weights are
``w·2^(e + f - k)``, levels ``n·2^-k``, all exact in float32. A decay is ``m/2^n`` (or ``1 - 2^-k``) without the
program's rounding, and nothing saturates: where a layer leaks, or a state leaves its range, the floats differ.
A threshold stands between two integers where resets go to a value; for subtraction it is ``reset_sub``, which
``fire_at`` reaches with ``>`` (or ``≥``) where all neurons agree.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import numpy as np

from engine.errors import NotRepresentable
from engine.network.graph import Graph
from engine.network.model import Array
from engine.network.nodes import Node, make_node
from engine.program.program import INPUT, Connection, Flatten, IntegerProgram, Layer, Leak
from engine.specs.dynamics import PRESETS, Dynamics

DT_S = 1e-4
SOURCE, SINK = "input", "output"


def dequantize(program: IntegerProgram) -> tuple[Graph, Dynamics]:
    """Graph and profile of a program.

    Raises:
        NotRepresentable: ``export_not_representable``: all that NIR nodes cannot say, one sentence each.
    """
    start = _start(program)
    faults = [fault for layer in program.layers for fault in _layer_faults(layer)]
    if program.input.scale is not None:
        faults.append("analogue inputs, whose scale the weights already hold")
    if start is None:
        faults.append("membranes that start neither at 0 nor at their reset values")
    faults += [fault for c in program.connections for fault in _connection_faults(c)]
    if faults:
        raise NotRepresentable("export_not_representable", "NIR cannot hold this program: " + "; ".join(faults))
    nodes: dict[str, Node] = {SOURCE: make_node(SOURCE, "Input", {"shape": list(program.input.shape)})}
    edges: list[tuple[str, str]] = []
    late: list[tuple[str, str]] = []
    test = _spike_test(program)
    for layer in program.layers:
        nodes[layer.name] = _neurons(layer, test)
        for number, connection in enumerate(program.into(layer.name)):
            way = _path(connection, layer, nodes, biased=number == 0)
            edges += list(pairwise(way))
            if connection.delayed:
                late.append((way[0], way[1]))
    out = program.layer(program.output)
    nodes[SINK] = make_node(SINK, "Output", {"shape": list(out.shape)})
    edges.append((program.output, SINK))
    first = program.layers[0]
    dynamics = Dynamics.model_validate(
        PRESETS["nir-paper"].model_dump()
        | {
            "dt_s": DT_S, "reset": first.reset, "reset_timing": first.reset_timing, "reset_order": first.reset_order,
            "drop_reset_input": first.drop_reset_input, "current": first.current, "spike_test": test,
            "readout": program.readout, "feedback_edges": tuple(late), "start": start,
        }
    )  # fmt: skip
    return Graph(nodes, tuple(edges)), dynamics


def exact(program: IntegerProgram) -> bool:
    """Whether floats compute the same as long as no state saturates: nothing leaks, and resets are whole.

    Example:
        >>> from engine.program.program import InputFormat
        >>> cell = Layer("a", "if", (1,), 8, 0, np.float32(1), fire_at=5, reset="subtract", reset_sub=4)
        >>> fc = Connection("fc", INPUT, "a", "linear", (1,), (1,), bits=3, weight=[[3]])
        >>> exact(IntegerProgram(InputFormat((1,)), (cell,), (fc,), "a"))
        True
    """
    whole = all(_whole(leak) for la in program.layers for leak in (la.leak_v, la.leak_i or Leak()))
    return whole and (len(_deltas(program)) <= 1 or all(la.reset != "subtract" for la in program.layers))


def _whole(leak: Leak) -> bool:
    """Everything is kept, or nothing."""
    return leak.values is None or not (_decay(leak).any() and (_decay(leak) != 1.0).any())


def _deltas(program: IntegerProgram) -> set[int]:
    """``fire_at - reset_sub`` over all neurons."""
    pairs = [(la.fire_at, la.reset_sub) for la in program.layers]
    return {int(d) for fire, sub in pairs if fire is not None and sub is not None for d in np.unique(fire - sub)}


def _spike_test(program: IntegerProgram) -> Literal["gt", "ge"]:
    return "ge" if _deltas(program) == {0} else "gt"


def _start(program: IntegerProgram) -> Literal["zero", "v_reset"] | None:
    """Where all membranes start, as a profile says it; None where it cannot."""
    if all(la.start is None for la in program.layers):
        return "zero"
    nothing = np.zeros(1, dtype=np.int64)
    same = all(
        bool(np.all((nothing if la.start is None else la.start) == la.reset_to))
        for la in program.layers
        if la.reset_to is not None
    )
    return "v_reset" if same and all(la.reset_to is not None for la in program.layers) else None


def _layer_faults(layer: Layer) -> list[str]:
    decays = [leak for leak in (layer.leak_v, layer.leak_i) if leak is not None]
    rules = (
        (layer.fire_at is not None, "it never spikes, and the importers put out spikes"),
        (layer.max_spikes == 1, f"up to {layer.max_spikes} spikes a step"),
        (layer.floor is None, "a membrane floor"),
        (layer.leak_i is None or layer.bias is None, "a bias on the membrane of a neuron with a current"),
        (all((_decay(leak) >= 0).all() and (_decay(leak) <= 1).all() for leak in decays), "a decay outside 0 … 1"),
        (
            layer.leak_i is None or all((_decay(leak) < 1).all() for leak in decays),
            "a neuron with a current that does not leak",
        ),
        (
            layer.leak_i is not None or len(np.unique(_decay(layer.leak_v) == 1.0)) == 1,
            "neurons that leak beside ones that do not",
        ),
    )
    return [f"layer {layer.name!r}: {words}" for holds, words in rules if not holds]


def _connection_faults(connection: Connection) -> list[str]:
    rules = (
        (connection.weight is not None, "it has no weights"),
        (connection.delay is None, "delays"),
    )
    return [f"connection {connection.name!r}: {words}" for holds, words in rules if not holds]


def _decay(leak: Leak) -> Array:
    """What a step keeps, before rounding."""
    if leak.values is None:
        return np.ones(1)
    values: Array = leak.values.astype(np.float64)
    kept: Array = 1.0 - 2.0**-values if leak.kind == "shift" else values / 2.0**leak.shift_bits
    return kept


def _unit(layer: Layer) -> float:
    """What a state unit is worth: a power of two that brings the largest threshold to 1 or below."""
    largest = 1 if layer.fire_at is None else max(1, int(np.abs(layer.fire_at).max()))
    return 2.0 ** -int(np.ceil(np.log2(largest)))


def _neurons(layer: Layer, test: str) -> Node:
    unit = _unit(layer)
    if layer.fire_at is None:
        raise ValueError(f"layer {layer.name!r} has no threshold")
    if layer.reset == "subtract" and layer.reset_sub is not None:
        theta: Array = layer.reset_sub.astype(np.float64)
    else:
        theta = (layer.fire_at - 0.5).astype(np.float64)
    reset = np.zeros(layer.shape) if layer.reset_to is None else layer.reset_to * unit
    values: dict[str, Any] = {"v_threshold": theta * unit, "v_reset": reset, "v_leak": np.zeros(layer.shape)}
    decay = np.broadcast_to(_decay(layer.leak_v), layer.shape)
    if layer.leak_i is not None:
        decay_i = np.broadcast_to(_decay(layer.leak_i), layer.shape)
        tau, tau_syn = DT_S / (1.0 - decay), DT_S / (1.0 - decay_i)
        values |= {"tau_mem": tau, "tau_syn": tau_syn, "r": tau / DT_S, "w_in": tau_syn / DT_S}
        return make_node(layer.name, "CubaLIF", values)
    if (decay == 1.0).all():
        del values["v_leak"]
        return make_node(layer.name, "IF", values | {"r": np.full(layer.shape, 1.0 / DT_S)})
    tau = DT_S / (1.0 - decay)
    return make_node(layer.name, "LIF", values | {"tau": tau, "r": tau / DT_S})


def _path(connection: Connection, layer: Layer, nodes: dict[str, Node], biased: bool) -> list[str]:
    """Adds the nodes of one connection; their names from source to target."""
    way = [SOURCE if connection.source == INPUT else connection.source]
    for place, maps in (("before", connection.before), ("after", connection.after)):
        if place == "after":
            way.append(connection.name)
            nodes[connection.name] = _weights(connection, layer, biased)
        for number, part in enumerate(maps):
            name = f"{connection.name}_{place}_{number}"
            way.append(name)
            if isinstance(part, Flatten):
                nodes[name] = make_node(name, "Flatten", {"start_dim": part.start, "end_dim": part.end})
            else:
                pool = {"kernel_size": part.kernel, "stride": part.stride, "padding": part.padding}
                nodes[name] = make_node(name, "SumPool2d", pool)
    return [*way, layer.name]


def _weights(connection: Connection, layer: Layer, biased: bool) -> Node:
    """The connection's weights in the layer's unit; the first one into a layer brings its bias."""
    if connection.weight is None:
        raise ValueError(f"connection {connection.name!r} has no weights")
    power = 2.0 ** (connection.exponents + layer.fraction_bits) * _unit(layer)
    rows = power.reshape(-1, *[1] * (connection.weight.ndim - 1)) if np.ndim(power) else power
    values: dict[str, Any] = {"weight": connection.weight * rows}
    found = layer.bias if layer.leak_i is None else layer.bias_i
    bias = None if found is None or not biased else found.reshape(len(connection.weight), -1) * _unit(layer)
    if bias is not None and (connection.after or np.ptp(bias, axis=1).any()):
        detail = f"layer {layer.name!r}: a bias that differs inside a channel, or behind a pool"
        raise NotRepresentable("export_not_representable", f"NIR cannot hold this program: {detail}", layer.name)
    if connection.kind == "linear":
        if bias is None:
            return make_node(connection.name, "Linear", values)
        return make_node(connection.name, "Affine", values | {"bias": bias[:, 0]})
    line = connection.kind == "conv1d"
    for name in ("stride", "padding", "dilation"):
        pair = getattr(connection, name)
        values[name] = pair[0] if line else pair
    values |= {"groups": connection.groups, "bias": np.zeros(len(connection.weight)) if bias is None else bias[:, 0]}
    return make_node(connection.name, "Conv1d" if line else "Conv2d", values)
