"""A flat NIR graph: named nodes and the edges between them, checked when constructed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from engine.errors import InvalidModel
from engine.network.nodes import Input, Node, Output

Edge = tuple[str, str]
MAX_NAME = 256


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes by name and directed edges; sums meet where several edges enter a node.

    Nodes and edges are kept sorted by name, so that the order in a file means nothing. ``repairs`` lists what a reader
    changed on request; it is no part of the graph's identity.

    Raises:
        InvalidModel: ``dangling_edge``, ``duplicate_edge``, ``missing_node``, ``multiple_inputs``,
            ``multiple_outputs`` or ``invalid_edge``.

    Example:
        >>> from engine.network.nodes import make_node
        >>> nodes = {name: make_node(name, name, {"shape": [2]}) for name in ("Input", "Output")}
        >>> Graph(nodes, (("Input", "Output"),)).input
        'Input'
    """

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    repairs: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        for name in self.nodes:
            check_name(name)
        object.__setattr__(self, "nodes", MappingProxyType(dict(sorted(self.nodes.items()))))
        object.__setattr__(self, "edges", tuple(sorted(self.edges)))
        check_edges(self.edges, set(self.nodes), "the graph")
        for source, target in self.edges:
            if target == self.input or source == self.output:
                detail = f"edge {source!r} → {target!r} leads into the Input or out of the Output"
                raise InvalidModel("invalid_edge", detail, target)

    @cached_property
    def input(self) -> str:
        """Name of the Input."""
        return _only(self.nodes, Input, "multiple_inputs")

    @cached_property
    def output(self) -> str:
        """Name of the Output."""
        return _only(self.nodes, Output, "multiple_outputs")

    def successors(self, name: str) -> list[str]:
        """Nodes that ``name`` feeds, by name."""
        return [target for source, target in self.edges if source == name]

    def predecessors(self, name: str) -> list[str]:
        """Nodes that feed ``name``, by name."""
        return [source for source, target in self.edges if target == name]


def check_name(name: str) -> None:
    """Refuse names that are empty, too long, unprintable, or start with the reserved ``@``."""
    if not name or len(name) > MAX_NAME or not name.isprintable() or name.startswith("@") or "/" in name:
        detail = f"node name {name[:64]!r}: expected 1 to {MAX_NAME} printable characters without '/' or a leading '@'"
        raise InvalidModel("invalid_parameter", detail, name[:64])


def check_edges(edges: tuple[Edge, ...], known: set[str], where: str, hint: str = "") -> None:
    """Refuse edges that name a missing node, or that are there twice.

    Args:
        edges: (source, target) pairs.
        known: names that exist.
        where: the graph's name for the message, ``the graph`` or ``subgraph 'x'``.
        hint: added to the message about a missing node.

    Raises:
        InvalidModel: ``dangling_edge`` or ``duplicate_edge``.
    """
    seen: set[Edge] = set()
    for edge in edges:
        for end in edge:
            if end not in known:
                missing = f"{edge[0]!r} → {edge[1]!r} names the node {end!r}, which is not there"
                names = ", ".join(sorted(known)[:32])
                detail = f"{where}: edge {missing}; known: {names}{hint}"
                raise InvalidModel("dangling_edge", detail, end)
        if edge in seen:
            raise InvalidModel("duplicate_edge", f"{where}: edge {edge[0]!r} → {edge[1]!r} is there twice", edge[1])
        seen.add(edge)


def _only(nodes: Mapping[str, Node], kind: type[Node], code: str) -> str:
    found = [name for name, node in nodes.items() if isinstance(node, kind)]
    if not found:
        raise InvalidModel("missing_node", f"expected one {kind.__name__} node, found none", None)
    if len(found) > 1:
        raise InvalidModel(code, f"expected one {kind.__name__} node, found {len(found)}: {', '.join(found)}", found[1])
    return found[0]
