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
    early: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for source, target in graph.edges:
        if (source, target) not in late:
            early[source].append(target)
    depth = _depths(early)
    wanted = tuple(sorted(graph.nodes, key=lambda name: (name == graph.output, depth[name], name)))
    left = _steps_to_output(graph.output, early, wanted)
    longest = len(graph.nodes)
    edges = tuple(sorted(graph.edges, key=lambda edge: (-left.get(edge[1], longest), edge)))
    walked = _walk(graph.input, edges)
    place = {name: index for index, name in enumerate(walked)}
    fits = walked[-1] == graph.output and all(place[a] < place[b] for a, b in graph.edges if (a, b) not in late)
    return edges, None if fits else wanted


def _depths(early: dict[str, list[str]]) -> dict[str, int]:
    """The longest way to each node over edges that close no loop."""
    waits = dict.fromkeys(early, 0)
    for targets in early.values():
        for target in targets:
            waits[target] += 1
    depth, ready = dict.fromkeys(early, 0), [name for name, count in waits.items() if not count]
    while ready:
        name = ready.pop()
        for target in early[name]:
            depth[target] = max(depth[target], depth[name] + 1)
            waits[target] -= 1
            if not waits[target]:
                ready.append(target)
    return depth


def _steps_to_output(output: str, early: dict[str, list[str]], order: tuple[str, ...]) -> dict[str, int]:
    """The longest way to the Output; nothing for nodes of a loop alone."""
    left = {output: 0}
    for name in reversed(order):
        ways = [left[target] + 1 for target in early[name] if target in left]
        if ways:
            left[name] = max(ways)
    return left


def _walk(start: str, edges: tuple[Edge, ...]) -> list[str]:
    feeds: dict[str, list[str]] = {}
    for source, target in edges:
        feeds.setdefault(source, []).append(target)
    found, waiting = [], [start]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            found.append(name)
            waiting += reversed(feeds.get(name, []))
    return found
