"""Mends Input and Output shapes that carry axes of size 1 too many, as Rockpool writes them; only on request."""

from __future__ import annotations

from engine.errors import InvalidModel
from engine.network.fields import Shape
from engine.network.graph import Graph
from engine.network.nodes import Elementwise, Input, Linear, Node, Output
from engine.network.shapes import infer_shapes


def repair_ports(graph: Graph) -> Graph:
    """The graph with Input and Output shapes that fit the network between them.

    A shape is changed only when it differs by axes of size 1, so that the order of the values stays the same.

    Args:
        graph: a flat graph whose port shapes may be wrong.

    Returns:
        The same graph, or one with new ports and one line per change in ``repairs``.

    Raises:
        InvalidModel: ``shape_conflict`` where the shapes differ by more than that.
    """
    graph = _repair_input(graph)
    outputs = graph.predecessors(graph.output)
    if len(outputs) != 1:
        return graph
    inner = Graph({**graph.nodes, graph.output: _Any((1,))}, graph.edges)
    found = infer_shapes(inner).leaving.get(outputs[0])
    return graph if found is None else _with_port(graph, graph.output, Output, found)


class _Any(Output):
    """An Output that takes any shape, while the right one is being found."""

    def infer(self, given: Shape) -> Shape:
        return given


def _repair_input(graph: Graph) -> Graph:
    wanted = {_expects(graph.nodes[target]) for target in graph.successors(graph.input)} - {None}
    if len(wanted) != 1:
        return graph
    shape = wanted.pop()
    return graph if shape is None else _with_port(graph, graph.input, Input, shape)


def _expects(node: Node) -> Shape | None:
    if isinstance(node, Linear):
        return (node.weight.shape[1],)
    return node.shape if isinstance(node, Elementwise) else None


def _with_port(graph: Graph, name: str, kind: type[Input] | type[Output], shape: Shape) -> Graph:
    node = graph.nodes[name]
    if not isinstance(node, Input | Output) or node.shape == shape:
        return graph
    if _without_ones(node.shape) != _without_ones(shape):
        detail = (
            f"node {name!r} ({kind.__name__}): expected shape {node.shape}, found {shape}; no repair has one meaning"
        )
        raise InvalidModel("shape_conflict", detail, name)
    note = f"node {name!r}: shape {node.shape} taken for {shape}"
    return Graph({**graph.nodes, name: kind(shape)}, graph.edges, (*graph.repairs, note))


def _without_ones(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)
