"""An order of edges from which a depth-first walk runs every node after what feeds it, where there is one.

Norse's importer (nirtorch's GraphExecutor) runs nodes in the order in which a depth-first walk over the file's edges
first meets them, and puts out what the last of them does. A node that is met before one that feeds it sees that one's
value of the step before.
"""

from __future__ import annotations

from engine.network.feedback import find_feedback
from engine.network.graph import Edge, Graph


def order_edges(graph: Graph) -> tuple[tuple[Edge, ...], tuple[str, ...] | None]:
    """Edges, longest ways first and loops before them; and the wanted order of nodes where no order of edges gives it.

    Example:
        >>> from engine.network.nodes import make_node
        >>> port, cell = {"shape": [1]}, {"r": [1.0], "v_threshold": [1.0]}
        >>> nodes = {"in": make_node("in", "Input", port), "a": make_node("a", "IF", cell)}
        >>> nodes |= {"out": make_node("out", "Output", port), "w": make_node("w", "Linear", {"weight": [[1.0]]})}
        >>> order_edges(Graph(nodes, (("in", "a"), ("a", "out"), ("a", "w"), ("w", "a"))))
        ((('a', 'w'), ('in', 'a'), ('w', 'a'), ('a', 'out')), None)
    """
    late = set(find_feedback(graph))
    early = [edge for edge in graph.edges if edge not in late]
    ranks = _ranks(graph, early)
    wanted = tuple(sorted(graph.nodes, key=lambda name: (name == graph.output, ranks[name])))
    left = _steps_to_output(graph, early, wanted)
    longest = len(graph.nodes)
    edges = tuple(sorted(graph.edges, key=lambda edge: (-left.get(edge[1], longest), edge)))
    walked = _walk(graph.input, edges)
    place = {name: index for index, name in enumerate(walked)}
    fits = walked[-1] == graph.output and all(place[source] < place[target] for source, target in early)
    return edges, None if fits else wanted


def _ranks(graph: Graph, early: list[Edge]) -> dict[str, tuple[int, str]]:
    """The longest way from the Input, then the name."""
    depth = dict.fromkeys(graph.nodes, 0)
    for _ in graph.nodes:  # as often as a way can be long
        for source, target in early:
            depth[target] = max(depth[target], depth[source] + 1)
    return {name: (steps, name) for name, steps in depth.items()}


def _steps_to_output(graph: Graph, early: list[Edge], order: tuple[str, ...]) -> dict[str, int]:
    """The longest way to the Output; nothing for nodes of a loop alone."""
    left = {graph.output: 0}
    for name in reversed(order):
        ways = [left[target] + 1 for source, target in early if source == name and target in left]
        if ways:
            left[name] = max(ways)
    return left


def _walk(start: str, edges: tuple[Edge, ...]) -> list[str]:
    found, waiting = [], [start]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            found.append(name)
            waiting += [target for source, target in reversed(edges) if source == name]
    return found
