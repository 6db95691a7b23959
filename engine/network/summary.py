"""What the model record says about an upload."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from engine.network.graph import Graph
from engine.network.hints import preset_hints
from engine.network.model import Connection, Flatten, Network, NeuronLayer, SumPool
from engine.network.nodes import Conv1d, Conv2d, Input, Linear
from engine.program.geometry import map_shape, sum_shape
from engine.program.sizes import rest_bytes
from engine.specs.target_memory import Block
from engine.specs.targets import PROFILE_FIELDS, NetworkFacts


def summarise(graph: Graph, network: Network | None) -> dict[str, Any]:
    """JSON-ready facts about a graph, and about its network where the dynamics are known.

    Args:
        graph: the flat graph.
        network: its discrete form; None leaves out what depends on it.

    Returns:
        ``nodes``, ``parameters`` (weights and biases of the upload), ``float_bytes`` (4 each), ``input_shape``,
        ``repairs``, ``preset_hints`` (per preset: whether the file's numbers fit it, and why); with a network also
        ``outputs``, ``weight_layers`` and ``neuron_layers`` as (name, number) in execution order, ``delayed_edges``,
        ``program_rest_bytes`` (most bytes of a program beyond its weights, by granularity of their scales).
    """
    parameters = sum(
        node.weight.size + (getattr(node, "bias", None) is not None) * node.weight.shape[0]
        for node in graph.nodes.values()
        if isinstance(node, Linear | Conv1d | Conv2d)
    )
    source = graph.nodes[graph.input]
    facts: dict[str, Any] = {
        "nodes": len(graph.nodes),
        "parameters": int(parameters),
        "float_bytes": 4 * int(parameters),
        "input_shape": list(source.shape) if isinstance(source, Input) else [],
        "repairs": list(graph.repairs),
        "preset_hints": [asdict(hint) for hint in preset_hints(graph, None if network is None else network.dynamics)],
    }
    if network is not None:
        facts["outputs"] = _size(network.layer(network.output).shape)
        facts["weight_layers"] = [[c.name, int(c.weight.size)] for c in network.connections if c.weight is not None]
        facts["neuron_layers"] = [[layer.name, _size(layer.shape)] for layer in network.layers]
        facts["target_facts"] = target_facts(network).model_dump(mode="json")
        facts["program_rest_bytes"] = {"layer": rest_bytes(network, "layer"), "channel": rest_bytes(network, "channel")}
        facts["delayed_edges"] = [list(edge) for edge in network.delayed_edges]
    return facts


def target_facts(network: Network) -> NetworkFacts:
    """What targets limit (engine/specs/targets.py)."""
    output, dynamics = network.layer(network.output), network.dynamics
    layers, connections = network.layers, network.connections
    return NetworkFacts(
        kinds={layer.name: "lif" if layer.kind == "threshold" else layer.kind for layer in layers},
        reset=network.dynamics.reset,
        max_spikes=network.dynamics.max_spikes or 1,
        inputs=_size(network.input_shape),
        neurons=sum(_size(layer.shape) for layer in network.layers) - _size(output.shape),
        outputs=_size(output.shape),
        connections={c.name: c.kind for c in connections},
        delayed=tuple(c.name for c in connections if c.delayed),
        pooled=tuple(c.name for c in connections if any(isinstance(m, SumPool) for m in (*c.before, *c.after))),
        late=tuple(c.name for c in connections if c.delay is not None),
        current_biased=tuple(
            layer.name
            for layer in layers
            if layer.decay_i is not None and any(c.bias is not None and c.bias.any() for c in network.into(layer.name))
        ),
        uneven=tuple(layer.name for layer in layers if _uneven(layer)),
        off_zero=tuple(la.name for la in layers if la.threshold is not None and la.v_reset.any()),
        profile={field: str(getattr(dynamics, field)) for field in PROFILE_FIELDS} | {"start": _start(network)},
        blocks={c.name: _block(c, c.weight.shape) for c in connections if c.weight is not None},
    )


def _start(network: Network) -> str:
    """The profile's start, or ``zero`` where what it names is 0 in this network."""
    start = network.dynamics.start
    values = {"v_reset": [la.v_reset for la in network.layers], "v_leak": [la.v_leak for la in network.layers]}
    return start if any(array.any() for array in values.get(start, [])) else "zero"


def _uneven(layer: NeuronLayer) -> bool:
    """Whether neurons differ in threshold, leak or gain."""
    arrays = (layer.threshold, layer.decay_v, layer.decay_i, layer.gain)
    return any(array is not None and bool(np.any(array != array.flat[0])) for array in arrays)


def _block(connection: Connection, weight: tuple[int, ...]) -> Block:
    """A weight layer as a core of a convolution chip sees it."""
    if connection.kind == "linear":
        image = connection.source_shape
        for part in connection.before:
            if not isinstance(part, Flatten):
                image = map_shape(image, (part,), connection.name)
        whole = (weight[0], *image) if len(image) == 3 else (weight[0], weight[1], 1, 1)
        return Block(kernel=whole, biased=connection.bias is not None and bool(connection.bias.any()))
    rows, columns = (1, *sum_shape(connection, weight)[1:])[-2:]
    return Block(
        kernel=(weight[0], weight[1], *(1, *weight[2:])[-2:]),
        maps=(rows, columns),
        biased=connection.bias is not None and bool(connection.bias.any()),
    )


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for axis in shape:
        size *= axis
    return size
