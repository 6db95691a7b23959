"""What the model record says about an upload."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from engine.network.graph import Graph
from engine.network.hints import preset_hints
from engine.network.model import Network
from engine.network.nodes import Conv1d, Conv2d, Input, Linear
from engine.specs.targets import NetworkFacts


def summarise(graph: Graph, network: Network | None) -> dict[str, Any]:
    """JSON-ready facts about a graph, and about its network where the dynamics are known.

    Args:
        graph: the flat graph.
        network: its discrete form; None leaves out what depends on it.

    Returns:
        ``nodes``, ``parameters`` (weights and biases of the upload), ``float_bytes`` (4 each), ``input_shape``,
        ``repairs``, ``preset_hints`` (per preset: whether the file's numbers fit it, and why); with a network also
        ``outputs``, ``weight_layers`` and ``neuron_layers`` as (name, number) in execution order, ``delayed_edges``.
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
        "preset_hints": [asdict(hint) for hint in preset_hints(graph)],
    }
    if network is not None:
        facts["outputs"] = _size(network.layer(network.output).shape)
        facts["weight_layers"] = [[c.name, int(c.weight.size)] for c in network.connections if c.weight is not None]
        facts["neuron_layers"] = [[layer.name, _size(layer.shape)] for layer in network.layers]
        facts["target_facts"] = target_facts(network).model_dump(mode="json")
        facts["delayed_edges"] = [list(edge) for edge in network.delayed_edges]
    return facts


def target_facts(network: Network) -> NetworkFacts:
    """What targets limit (engine/specs/targets.py)."""
    output = network.layer(network.output)
    return NetworkFacts(
        kinds={layer.name: layer.kind for layer in network.layers},
        reset=network.dynamics.reset,
        max_spikes=network.dynamics.max_spikes or 1,
        inputs=_size(network.input_shape),
        neurons=sum(_size(layer.shape) for layer in network.layers) - _size(output.shape),
        outputs=_size(output.shape),
    )


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for axis in shape:
        size *= axis
    return size
