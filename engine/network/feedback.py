"""Which edges carry one step of delay: back edges of a depth-first walk from the Input (DESIGN 4.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.errors import InvalidModel
from engine.network.graph import Edge, Graph


def find_feedback(graph: Graph, given: Sequence[Edge] | None = None) -> tuple[Edge, ...]:
    """Edges that close a cycle, or the ones that the profile names.

    The walk starts at the Input and visits successors by node name; an edge to a node that is still on the walk's
    path is a back edge. The spikes that cross it are those of the step before.

    Args:
        graph: a flat graph.
        given: ``feedback_edges`` of the dynamics profile; None: find them.

    Returns:
        Edges (source, target), sorted.

    Raises:
        InvalidModel: ``invalid_dynamics`` where a named edge does not exist.

    Example:
        >>> from engine.network.nodes import make_node
        >>> port, cell = {"shape": [1]}, {"r": [1.0], "v_threshold": [1.0]}
        >>> nodes = {"in": make_node("in", "Input", port), "a": make_node("a", "IF", cell)}
        >>> nodes |= {"out": make_node("out", "Output", port), "w": make_node("w", "Linear", {"weight": [[1.0]]})}
        >>> find_feedback(Graph(nodes, (("in", "a"), ("a", "w"), ("w", "a"), ("a", "out"))))
        (('w', 'a'),)
    """
    if given is None:
        return _back_edges(graph)
    for source, target in given:
        if (source, target) not in graph.edges:
            detail = f"feedback_edges names {source!r} → {target!r}; the graph has no such edge"
            raise InvalidModel("invalid_dynamics", detail, "feedback_edges")
    return tuple(sorted(given))


def _back_edges(graph: Graph) -> tuple[Edge, ...]:
    successors: Mapping[str, list[str]] = {name: [] for name in graph.nodes}
    for source, target in graph.edges:  # sorted, so successors are visited by name
        successors[source].append(target)
    found: list[Edge] = []
    open_nodes, done = {graph.input}, set()
    stack = [(graph.input, iter(successors[graph.input]))]
    while stack:
        node, rest = stack[-1]
        for target in rest:
            if target in open_nodes:
                found.append((node, target))
            elif target not in done:
                open_nodes.add(target)
                stack.append((target, iter(successors[target])))
                break
        else:
            open_nodes.discard(node)
            done.add(node)
            stack.pop()
    return tuple(sorted(found))
