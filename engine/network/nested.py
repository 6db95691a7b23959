"""Nested NIR graphs become one flat graph with dotted names; inner Inputs and Outputs vanish into edges."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.errors import InvalidModel
from engine.network.fields import Shape
from engine.network.graph import Edge, check_edges
from engine.network.nodes import Input, Node, Output

REPAIR_HINT = "; a repair is possible, ask for it with repair"


@dataclass(frozen=True)
class RawGraph:
    """A graph as a file holds it: inner graphs are still nodes."""

    nodes: dict[str, Node | RawGraph]
    edges: tuple[Edge, ...]


@dataclass
class Flat:
    """The flattened graph, what was repaired on the way, and the shapes that inner ports declare for their feeders."""

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)
    declared: list[tuple[str, Shape, tuple[str, ...]]] = field(default_factory=list)


def flatten(raw: RawGraph, repair: bool = False) -> Flat:
    """Join all inner graphs into one.

    Args:
        raw: the outermost graph.
        repair: rename the missing end of inner edges where exactly one inner node has no edge.

    Returns:
        Flat nodes and edges; an inner node ``lif`` of the graph ``block`` is called ``block.lif``.

    Raises:
        InvalidModel: ``dangling_edge`` naming the subgraph, the edge and the known nodes; ``duplicate_edge``;
            ``multiple_inputs`` or ``missing_node`` where an inner graph has not one Input and one Output.
    """
    flat = Flat()
    _collect(raw, "", flat, repair)
    for port in [name for name, node in flat.nodes.items() if _is_inner_port(name, node, raw)]:
        _remove_port(port, flat)
    return flat


def _is_inner_port(name: str, node: Node, raw: RawGraph) -> bool:
    return isinstance(node, Input | Output) and raw.nodes.get(name) is not node


def _collect(raw: RawGraph, prefix: str, flat: Flat, repair: bool) -> None:
    where = f"subgraph {prefix[:-1]!r}" if prefix else "the graph"
    edges = _checked_edges(raw, where, flat, repair)
    entry: dict[str, str] = {}
    leave: dict[str, str] = {}
    for name, node in raw.nodes.items():
        full = prefix + name
        if isinstance(node, RawGraph):
            _collect(node, f"{full}.", flat, repair)
            entry[name] = f"{full}.{_port(node, Input, full)}"
            leave[name] = f"{full}.{_port(node, Output, full)}"
            continue
        if full in flat.nodes:
            raise InvalidModel("duplicate_node", f"two nodes are called {full!r} once inner graphs are joined", full)
        flat.nodes[full] = node
        entry[name] = leave[name] = full
    flat.edges.extend((leave[source], entry[target]) for source, target in edges)


def _port(graph: RawGraph, kind: type[Node], where: str) -> str:
    found = [name for name, node in graph.nodes.items() if isinstance(node, kind)]
    if len(found) != 1:
        code = "multiple_inputs" if kind is Input else "multiple_outputs"
        detail = f"subgraph {where!r}: expected one {kind.__name__} node, found {len(found)}"
        raise InvalidModel(code if found else "missing_node", detail, where)
    return found[0]


def _checked_edges(raw: RawGraph, where: str, flat: Flat, repair: bool) -> tuple[Edge, ...]:
    known = set(raw.nodes)
    named = {end for edge in raw.edges for end in edge}
    missing, unused = sorted(named - known), sorted(known - named)
    repairable = len(missing) == 1 and len(unused) == 1
    if repairable and repair:
        flat.repairs.append(f"{where}: edges named {missing[0]!r}, taken for {unused[0]!r}")
        swap = {missing[0]: unused[0]}
        edges = tuple((swap.get(source, source), swap.get(target, target)) for source, target in raw.edges)
    else:
        edges = raw.edges
    check_edges(edges, known, where, REPAIR_HINT if repairable else "")
    return edges


def _remove_port(port: str, flat: Flat) -> None:
    """Join what enters an inner port with what it feeds."""
    feeders = tuple(sorted({source for source, target in flat.edges if target == port}))
    fed = sorted({target for source, target in flat.edges if source == port})
    node = flat.nodes.pop(port)
    if isinstance(node, Input | Output):
        flat.declared = [(name, shape, _replace(ends, port, feeders)) for name, shape, ends in flat.declared]
        flat.declared.append((port, node.shape, feeders))
    flat.edges = [edge for edge in flat.edges if port not in edge]
    flat.edges.extend((source, target) for source in feeders for target in fed)


def _replace(ends: tuple[str, ...], port: str, feeders: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(end for end in ends if end != port) + (feeders if port in ends else ())
