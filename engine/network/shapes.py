"""Shape inference: what enters and leaves every node, checked along every edge."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import InvalidModel
from engine.network.fields import BadField, Shape
from engine.network.graph import Graph
from engine.network.nodes import Input, ShapeMismatch

MAX_NEURONS = 2**23  # elements that leave one node: 8 parameters of it take 0.5 GiB; a guard against geometry


@dataclass(frozen=True)
class Shapes:
    """Shape that enters and that leaves each node that the Input reaches."""

    entering: dict[str, Shape]
    leaving: dict[str, Shape]


def infer_shapes(graph: Graph) -> Shapes:
    """Carry shapes from the Input along all edges.

    Args:
        graph: a flat graph; cycles are allowed.

    Returns:
        Shapes of every node that the Input reaches.

    Raises:
        InvalidModel: ``shape_conflict`` naming the node, what it expected and what came, from which node;
            ``invalid_parameter`` where a Flatten names axes that are not there.

    Example:
        >>> from engine.network.nodes import make_node
        >>> shape = {"shape": [2]}
        >>> nodes = {"a": make_node("a", "Input", shape), "b": make_node("b", "Output", shape)}
        >>> infer_shapes(Graph(nodes, (("a", "b"),))).leaving
        {'a': (2,), 'b': (2,)}
    """
    start = graph.nodes[graph.input]
    if not isinstance(start, Input):
        raise TypeError("Graph.input names an Input")
    targets: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for source, target in graph.edges:
        targets[source].append(target)
    entering, leaving = {graph.input: start.shape}, {graph.input: start.shape}
    waiting = [graph.input]
    while waiting:
        source = waiting.pop()
        for target in targets[source]:
            shape = _through(graph, source, target, leaving[source])
            if target not in leaving:
                entering[target], leaving[target] = leaving[source], shape
                waiting.append(target)
            elif entering[target] != leaving[source]:
                raise _conflict(graph, source, target, str(entering[target]), leaving[source])
    return Shapes(entering, leaving)


def _through(graph: Graph, source: str, target: str, given: Shape) -> Shape:
    try:
        shape = graph.nodes[target].infer(given)
    except ShapeMismatch as error:
        raise _conflict(graph, source, target, error.expected, error.found) from error
    except BadField as error:
        raise InvalidModel(error.code, f"node {target!r}: {error}", target) from error
    size = 1
    for axis in shape:
        size *= axis
    if size > MAX_NEURONS:
        raise InvalidModel(
            "too_large", f"node {target!r}: {size} values leave it, expected at most {MAX_NEURONS}", target
        )
    return shape


def _conflict(graph: Graph, source: str, target: str, expected: str, found: Shape) -> InvalidModel:
    kind = graph.nodes[target].kind
    detail = f"node {target!r} ({kind}): expected shape {expected}, found {found} from node {source!r}"
    return InvalidModel("shape_conflict", detail, target)
