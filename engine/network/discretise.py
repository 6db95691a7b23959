"""A NIR graph and a dynamics profile become the discrete network that everything else works on (DESIGN 4)."""

from __future__ import annotations

import heapq
from itertools import pairwise

from engine.errors import InvalidModel, NotRepresentable
from engine.network.connections import Path, find_paths, has_weight, make_connection
from engine.network.feedback import find_feedback
from engine.network.graph import Graph
from engine.network.model import INPUT, Connection, Network, NeuronLayer
from engine.network.neurons import make_layer, membrane_layer
from engine.network.nodes import LI, CubaLI, Flatten, I, Neuron, Threshold
from engine.network.shapes import Shapes, infer_shapes
from engine.specs.dynamics import Dynamics

_SPIKING = {"LI": "LIF", "CubaLI": "CubaLIF", "I": "IF"}


def discretise(graph: Graph, dynamics: Dynamics) -> Network:
    """Turn differential equations into one time step, and edges into connections in execution order.

    Args:
        graph: a flat NIR graph.
        dynamics: the profile; every field counts.

    Returns:
        The network. Layers are ordered so that a connection without delay reads a layer that was computed before;
        connections are ordered by their target, then by name.

    Raises:
        InvalidModel: ``shape_conflict``, ``several_edges``, ``unused_node``, ``invalid_parameter``,
            ``invalid_dynamics``; the message names the node.
        NotRepresentable: ``not_composable``, ``li_inside``.

    Example:
        >>> from engine.network.nodes import make_node
        >>> from engine.specs.dynamics import PRESETS
        >>> port, cell = {"shape": [1]}, {"tau": [1e-3], "r": [1.0], "v_leak": [0.0], "v_threshold": [1.0]}
        >>> nodes = {"in": make_node("in", "Input", port), "a": make_node("a", "LIF", cell)}
        >>> nodes |= {"out": make_node("out", "Output", port), "w": make_node("w", "Linear", {"weight": [[2.0]]})}
        >>> network = discretise(Graph(nodes, (("in", "w"), ("w", "a"), ("a", "out"))), PRESETS["nir-paper"])
        >>> network.output, float(network.layers[0].decay_v[0])
        ('a', 0.9)
    """
    shapes = infer_shapes(graph)
    _check_used(graph, shapes)
    feedback = find_feedback(graph, dynamics.feedback_edges)
    paths = find_paths(graph)
    output, layers = _layers(graph, shapes, dynamics, paths)
    late = frozenset(feedback)
    connections = [
        make_connection(graph, shapes, path, any(edge in late for edge in pairwise(path)), dynamics.dt_s)
        for path in paths
        if path[-1] in layers
    ]
    _check_delays(connections)
    order = _execution_order(list(layers), connections)
    rank = {name: index for index, name in enumerate(order)}
    return Network(
        dynamics=dynamics,
        input_shape=shapes.leaving[graph.input],
        layers=tuple(layers[name] for name in order),
        connections=tuple(sorted(connections, key=lambda c: (rank[c.target], c.name))),
        output=output,
        delayed_edges=feedback,
    )


def _layers(
    graph: Graph, shapes: Shapes, dynamics: Dynamics, paths: tuple[Path, ...]
) -> tuple[str, dict[str, NeuronLayer]]:
    """Name of the layer that is read out, and all layers by name."""
    layers = {
        name: make_layer(name, node, shapes.leaving[name], dynamics)
        for name, node in graph.nodes.items()
        if isinstance(node, Neuron)
    }
    (last,) = [path for path in paths if path[-1] == graph.output]
    reads_membrane = dynamics.readout != "spike_count"
    for path in paths:
        if isinstance(graph.nodes[path[0]], LI | CubaLI | I) and path is not last:
            kind = graph.nodes[path[0]].kind
            detail = f"node {path[0]!r} ({kind}) feeds {path[1]!r}: it never spikes; expected it before the Output"
            if isinstance(graph.nodes[path[-1]], Threshold):
                detail += (
                    f". For it and the Threshold {path[-1]!r} behind it write one {_SPIKING[kind]} with the same "
                    f"parameters and the Threshold's threshold as v_threshold, in a profile with reset none"
                )
            raise NotRepresentable("li_inside", detail, path[0])
    if has_weight(graph, last):
        if not reads_membrane:
            detail = (
                f"node {last[-2]!r} feeds the Output without a neuron: expected a membrane readout, found spike_count"
            )
            raise InvalidModel("invalid_dynamics", detail, last[-2])
        layers[graph.output] = membrane_layer(graph.output, shapes.leaving[graph.output])
        return graph.output, layers
    source = last[0]
    if source not in layers:
        raise InvalidModel(
            "unused_node", "the Input feeds the Output without a neuron: there is nothing to run", source
        )
    for name in last[1:-1]:
        if not isinstance(graph.nodes[name], Flatten):
            raise NotRepresentable("not_composable", f"node {name!r} ({graph.nodes[name].kind}) feeds the Output", name)
    if layers[source].threshold is None and not reads_membrane:
        detail = (
            f"node {source!r} ({graph.nodes[source].kind}) never spikes: expected a membrane readout, found spike_count"
        )
        raise InvalidModel("invalid_dynamics", detail, source)
    return source, layers


def _check_used(graph: Graph, shapes: Shapes) -> None:
    """Every node lies on a way from the Input to the Output, or the file does not mean what it holds."""
    sources: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for source, target in graph.edges:
        sources[target].append(source)
    useful, waiting = {graph.output}, [graph.output]
    while waiting:
        for source in sources[waiting.pop()]:
            if source not in useful:
                useful.add(source)
                waiting.append(source)
    for name, node in graph.nodes.items():
        if name not in shapes.leaving or name not in useful:
            end = "is not reached from the Input" if name not in shapes.leaving else "does not lead to the Output"
            raise InvalidModel("unused_node", f"node {name!r} ({node.kind}) {end}", name)


def _check_delays(connections: list[Connection]) -> None:
    for connection in connections:
        if connection.delayed and connection.source == INPUT:
            detail = f"feedback_edges: connection {connection.name!r} reads the input, which cannot be delayed"
            raise InvalidModel("invalid_dynamics", detail, "feedback_edges")


def _execution_order(names: list[str], connections: list[Connection]) -> list[str]:
    """Layers so that undelayed connections come from layers before; ties by name."""
    waits = dict.fromkeys(names, 0)
    feeds: dict[str, list[str]] = {name: [] for name in names}
    for connection in connections:
        if not connection.lags and connection.source != INPUT:
            waits[connection.target] += 1
            feeds[connection.source].append(connection.target)
    ready = [name for name, count in waits.items() if not count]
    heapq.heapify(ready)
    order: list[str] = []
    while ready:
        name = heapq.heappop(ready)
        order.append(name)
        for target in feeds[name]:
            waits[target] -= 1
            if not waits[target]:
                heapq.heappush(ready, target)
    if len(order) < len(names):
        left = ", ".join(sorted(set(names) - set(order)))
        detail = f"feedback_edges leave a cycle without delay among {left}"
        raise InvalidModel("invalid_dynamics", detail, "feedback_edges")
    return order
