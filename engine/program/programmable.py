"""A network in the form that integer programs know: factors that no program has are moved into weights, exactly.

Three things are moved. The worth of one integer step of an analogue input: ``W·x = (W·s)·(x/s)``. NIR's Scale before or
after weights: its factors are the weights' columns or rows. The gains of a leaky integrator whose membrane is read out
and that differ by neuron (``g·(W·x + b) = (g·W)·x + g·b``): a readout needs one unit, so they cannot stay there. What
has no row or column of its own (a factor per place of a convolution, one without weights, one before a pool) stays, and
is refused by name where the program is made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from engine.network.model import INPUT, Array, Connection, Flatten, Map, Network, NeuronLayer, Scale


@dataclass(frozen=True)
class Programmable:
    """The network, and the names of the connections whose weights are no longer those of their node."""

    network: Network
    changed: frozenset[str]


def programmable_network(network: Network, input_scale: float = 1.0) -> Programmable:
    """Move factors into weights wherever that is exact.

    Args:
        network: as discretised; not changed.
        input_scale: worth of one integer step of the input.

    Example:
        >>> scale = Scale(np.array([3.0]))
        >>> linear = Connection("fc", INPUT, "n", "linear", (1,), (1,), np.array([[2.0]]), before=(scale,))
        >>> _fold_scales(linear).weight.tolist()
        [[6.0]]
    """
    connections = []
    for connection in network.connections:
        made = _fold_scales(connection)
        if connection.source == INPUT and input_scale != 1.0 and made.weight is not None:
            made = replace(made, weight=made.weight * input_scale)
        connections.append(made)
    changed = replace(network, connections=tuple(connections))
    if network.dynamics.readout != "spike_count":
        changed = _fold_gain(changed, changed.layer(network.output))
    before = {c.name: c for c in network.connections}
    return Programmable(changed, frozenset(c.name for c in changed.connections if c is not before[c.name]))


def _fold_scales(connection: Connection) -> Connection:
    """A connection without the Scales that its rows and columns can hold."""
    if connection.weight is None:
        return connection
    before, columns = _split(connection.before)
    made = connection
    if columns is not None and (by_column := _columns(connection, columns)) is not None:
        made = replace(made, weight=by_column, before=before)
    after, rows = _split(connection.after)
    if rows is not None and (each := _by_row(connection, rows)) is not None:
        made = _times_rows(made, each)
        made = replace(made, after=after)
    return made


def _split(maps: tuple[Map, ...]) -> tuple[tuple[Map, ...], Array | None]:
    """The other maps and the product of the Scales, where nothing but Flattens stands with them; else (maps, None)."""
    if not any(isinstance(part, Scale) for part in maps) or not all(isinstance(p, Scale | Flatten) for p in maps):
        return maps, None
    factor = np.ones(())
    for part in maps:  # Flatten keeps the order of elements, so factors may be compared flat
        if isinstance(part, Scale):
            factor = factor * part.factor.reshape(-1)
    return tuple(part for part in maps if isinstance(part, Flatten)), factor


def _columns(connection: Connection, factor: Array) -> Array | None:
    """Weights times a factor of what enters them; None where places of a channel differ."""
    weight = connection.weight
    if weight is None or connection.kind == "linear":
        return None if weight is None else weight * factor
    each = factor.reshape(connection.source_shape[0], -1)  # [channel, place]
    if not (each == each[:, :1]).all():
        return None
    inner = weight.shape[1]
    group = np.arange(len(weight)) // (len(weight) // connection.groups)
    channel = group[:, None] * inner + np.arange(inner)  # [out, in of the group]
    scaled: Array = weight * each[channel, 0].reshape(*channel.shape, *[1] * (weight.ndim - 2))
    return scaled


def _by_row(connection: Connection, factor: Array) -> Array | None:
    """One factor per row or channel of the sum; None where places of a channel differ."""
    if connection.weight is None:
        return None
    each = factor.reshape(len(connection.weight), -1)  # [out, place]
    return each[:, 0] if (each == each[:, :1]).all() else None


def _times_rows(connection: Connection, factor: Array) -> Connection:
    if connection.weight is None:
        return connection
    weight = connection.weight * factor.reshape(-1, *[1] * (connection.weight.ndim - 1))
    bias = None if connection.bias is None else connection.bias * factor
    return replace(connection, weight=weight, bias=bias)


def _fold_gain(network: Network, layer: NeuronLayer) -> Network:
    """The readout's gains in its weights, where they differ and every row is a neuron's or channel's own."""
    into = network.into(layer.name)
    each = layer.gain.reshape(layer.shape[0], -1)  # [first axis, place]
    same = np.all(layer.gain == layer.gain.reshape(-1)[0])
    if same or not (each == each[:, :1]).all() or any(c.weight is None or c.after for c in into):
        return network
    layers = tuple(replace(la, gain=np.ones(la.shape)) if la is layer else la for la in network.layers)
    connections = tuple(_times_rows(c, each[:, 0]) if c.target == layer.name else c for c in network.connections)
    return replace(network, layers=layers, connections=connections)
