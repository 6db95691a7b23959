"""Paths of linear maps between neuron layers become connections; chains of weights are composed (DESIGN 4, 5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engine.errors import InvalidModel, NotRepresentable
from engine.network.fields import Shape
from engine.network.graph import Graph
from engine.network.model import INPUT, Array, Connection, Flatten, Map, SumPool
from engine.network.nodes import Affine, AvgPool2d, Conv2d, Input, Linear, Neuron, Node, Output, SumPool2d
from engine.network.nodes import Flatten as FlattenNode
from engine.network.shapes import Shapes

Path = tuple[str, ...]  # source, linear maps, target


def find_paths(graph: Graph) -> tuple[Path, ...]:
    """Every way from the Input or a neuron layer over linear maps to the next neuron layer or the Output.

    Raises:
        InvalidModel: ``several_edges`` where edges meet in a linear map, or a weight feeds several nodes. Edges may
            meet in a neuron; copies of a weight are separate layers, which the file must say.
    """
    targets: dict[str, list[str]] = {name: [] for name in graph.nodes}
    entering = dict.fromkeys(graph.nodes, 0)
    for source, target in graph.edges:
        targets[source].append(target)
        entering[target] += 1
    for name, node in graph.nodes.items():
        if not isinstance(node, Neuron) and entering[name] > 1:
            detail = (
                f"node {name!r} ({node.kind}): expected one edge to enter, found {entering[name]}; only neurons sum"
            )
            raise InvalidModel("several_edges", detail, name)
        if isinstance(node, Linear | Conv2d) and len(targets[name]) > 1:
            fed = ", ".join(targets[name])
            detail = f"node {name!r} ({node.kind}): expected its weights to feed one node, found {fed}"
            raise InvalidModel("several_edges", detail, name)
    paths: list[Path] = []
    for name, node in graph.nodes.items():
        if isinstance(node, Input | Neuron):
            waiting: list[Path] = [(name, target) for target in targets[name]]
            while waiting:
                path = waiting.pop()
                if isinstance(graph.nodes[path[-1]], Neuron | Output):
                    paths.append(path)
                else:
                    waiting.extend((*path, target) for target in targets[path[-1]])
    return tuple(sorted(paths))


def has_weight(graph: Graph, path: Path) -> bool:
    """Whether a path crosses a Linear, Affine or Conv2d."""
    return any(isinstance(graph.nodes[name], Linear | Conv2d) for name in path[1:-1])


def make_connection(graph: Graph, shapes: Shapes, path: Path, delayed: bool) -> Connection:
    """One connection from a path of linear maps.

    Args:
        graph: the flat graph.
        shapes: what leaves each node.
        path: source, maps, target.
        delayed: whether it sees the spikes of the step before.

    Returns:
        The connection, named after its weight node; composed weights are joined by ``+``, and a path without weights
        is named by its nodes joined by ``->``.

    Raises:
        NotRepresentable: ``not_composable``, where a convolution meets another weight with no neuron between.
    """
    source, target = path[0], path[-1]
    before: list[Map] = []
    after: list[Map] = []
    weights: list[str] = []
    for name in path[1:-1]:
        node = graph.nodes[name]
        if isinstance(node, Linear | Conv2d):
            weights.append(name)
            if len(weights) > 1 and (after or not _all_linear(graph, weights)):
                detail = (
                    f"nodes {weights[-2]!r} and {name!r}: two weights with no neuron between are joined into one only "
                    f"where both are Linear or Affine; expected a neuron layer between them"
                )
                raise NotRepresentable("not_composable", detail, name)
            continue
        step = _MAPS[type(node)](node, shapes.entering[name])
        if step is not None:
            (after if weights else before).append(step)
    common: dict[str, Any] = {
        "name": "+".join(weights) or "->".join(path),
        "source": INPUT if isinstance(graph.nodes[source], Input) else source,
        "target": target,
        "source_shape": shapes.leaving[source],
        "target_shape": shapes.leaving[target],
        "before": tuple(before),
        "after": tuple(after),
        "delayed": delayed,
    }
    return Connection(**common, **_weight_fields([graph.nodes[name] for name in weights]))


def _all_linear(graph: Graph, names: Sequence[str]) -> bool:
    return all(isinstance(graph.nodes[name], Linear) for name in names)


def _weight_fields(nodes: Sequence[Node]) -> dict[str, Any]:
    if not nodes:
        return {"kind": "identity", "weight": None}
    first = nodes[0]
    if isinstance(first, Conv2d):
        return {
            "kind": "conv2d",
            "weight": _float64(first.weight),
            "bias": None if first.bias is None else _float64(first.bias),
            "stride": first.stride,
            "padding": first.padding,
            "dilation": first.dilation,
            "groups": first.groups,
        }
    weight: Array | None = None
    bias: Array | None = None
    for node in nodes:  # W = W_n … W_1, b = W_n b' + b_n
        if not isinstance(node, Linear):
            raise NotRepresentable("not_composable", f"a {node.kind} cannot be joined with another weight", None)
        step = _float64(node.weight)
        weight = step if weight is None else step @ weight
        bias = None if bias is None else step @ bias
        if isinstance(node, Affine):
            bias = _float64(node.bias) if bias is None else bias + node.bias
    return {"kind": "linear", "weight": weight, "bias": bias}


def _pool(node: SumPool2d, given: Shape) -> Map:
    stride = node.kernel_size if node.stride is None else node.stride
    scale = 1.0 / (node.kernel_size[0] * node.kernel_size[1]) if isinstance(node, AvgPool2d) else 1.0
    return SumPool(node.kernel_size, stride, node.padding, scale)


def _flatten(node: FlattenNode, given: Shape) -> Map | None:
    start, end = node.axes(len(given))
    return None if start == end else Flatten(start, end)


_MAPS: dict[type[Node], Callable[[Any, Shape], Map | None]] = {
    SumPool2d: _pool,
    AvgPool2d: _pool,
    FlattenNode: _flatten,
}


def _float64(value: Any) -> Array:
    return np.array(value, dtype=np.float64)
