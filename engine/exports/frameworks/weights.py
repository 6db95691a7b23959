"""Factors and biases of a neuron layer's inputs, put into the weights that feed it."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import NotRepresentable
from engine.network.graph import Edge
from engine.network.nodes import Affine, Conv1d, Conv2d, Flatten, Linear, Node, make_node
from engine.network.shapes import Shapes

Array = NDArray[Any]


@dataclass
class Draft:
    """A graph under change; ``shapes`` are those that entered and left its nodes at first."""

    nodes: dict[str, Node]
    edges: list[Edge]
    shapes: Shapes

    def fresh(self, wish: str) -> str:
        """A name that is free."""
        name, count = wish, 2
        while name in self.nodes:
            name, count = f"{wish}_{count}", count + 1
        return name

    def insert(self, edge: Edge, name: str, node: Node) -> None:
        """Put a node on an edge."""
        self.nodes[name] = node
        self.edges.remove(edge)
        self.edges += [(edge[0], name), (name, edge[1])]


def enter_with(draft: Draft, target: str, factor: Array, bias: Array, loops: Set[Edge], framework: str) -> None:
    """Multiply what enters a neuron layer, and add to it in every step.

    Args:
        draft: changed.
        target: the layer.
        factor: of the layer's shape.
        bias: of the layer's shape, added once; a recurrent map's own bias joins it.
        loops: edges with a step of delay: their weights carry no bias, since an importer may skip them at first.
        framework: for messages.

    Raises:
        NotRepresentable: ``not_uniform``, where a channel of a map needs several factors.
    """
    into = sorted(edge for edge in draft.edges if edge[1] == target)
    late = [edge for edge in into if _on_a_loop(draft, edge, loops)]
    for edge in late:
        bias = bias + factor * _take_bias(draft, edge[0], bias.shape)
    for edge in into:
        adds = np.zeros(bias.shape) if edge in late or edge != next(e for e in into if e not in late) else bias
        if not (factor == 1.0).all() or adds.any():
            _fold(draft, edge, factor, adds, framework)


def _on_a_loop(draft: Draft, edge: Edge, loops: Set[Edge]) -> bool:
    """Whether the path that ends with this edge has a step of delay: maps have one edge each to look back along."""
    while edge not in loops:
        before = [other for other in draft.edges if other[1] == edge[0]]
        if len(before) != 1 or not isinstance(draft.nodes[edge[0]], Linear | Conv1d | Conv2d | Flatten):
            return False
        edge = before[0]
    return True


def _take_bias(draft: Draft, name: str, shape: tuple[int, ...]) -> Array:
    """The bias that a map brings to a layer of ``shape``, which it loses; zeros where it has none that can be moved."""
    node = draft.nodes[name]
    if isinstance(node, Flatten):
        (before,) = [source for source, target in draft.edges if target == name]
        return _take_bias(draft, before, draft.shapes.entering[name]).reshape(shape)
    if isinstance(node, Affine):
        draft.nodes[name] = make_node(name, "Linear", {"weight": node.weight})
        return np.asarray(node.bias, dtype=np.float64).reshape(shape)
    if isinstance(node, Conv1d | Conv2d) and node.bias is not None:
        bias = np.asarray(node.bias, dtype=np.float64).reshape(-1, *[1] * (len(shape) - 1))
        draft.nodes[name] = replace(node, bias=np.zeros_like(node.bias))
        return np.broadcast_to(bias, shape)
    return np.zeros(shape)


def _fold(draft: Draft, edge: Edge, factor: Array, bias: Array, framework: str) -> None:
    """Into the weights before the edge's target, through a Flatten; else into a diagonal map on the edge."""
    source = edge[0]
    node = draft.nodes[source]
    feeds = [target for origin, target in draft.edges if origin == source]
    if isinstance(node, Flatten) and len(feeds) == 1:
        (before,) = [other for other in draft.edges if other[1] == source]
        shape = draft.shapes.entering[source]
        _fold(draft, before, factor.reshape(shape), bias.reshape(shape), framework)
    elif isinstance(node, Linear) and len(feeds) == 1:
        weight = node.weight * factor[:, None]
        bias = (node.bias * factor if isinstance(node, Affine) else 0.0) + bias
        values = {"weight": weight, "bias": bias} if bias.any() or isinstance(node, Affine) else {"weight": weight}
        draft.nodes[source] = make_node(source, "Affine" if "bias" in values else "Linear", values)
    elif isinstance(node, Conv1d | Conv2d) and len(feeds) == 1:
        draft.nodes[source] = _scaled(source, node, edge[1], factor, bias, framework)
    else:
        name = draft.fresh(f"{source}_to_{edge[1]}")
        draft.insert(edge, name, _diagonal(name, edge[1], factor, bias, framework))


def _scaled(name: str, node: Conv1d | Conv2d, target: str, factor: Array, bias: Array, framework: str) -> Node:
    by_channel = _channels(target, factor, framework)
    weight = node.weight * by_channel.reshape(-1, *[1] * (node.weight.ndim - 1))
    old = 0.0 if node.bias is None else node.bias * by_channel
    values = {entry.name: getattr(node, entry.name) for entry in fields(node)}
    return make_node(name, node.kind, values | {"weight": weight, "bias": old + _channels(target, bias, framework)})


def _diagonal(name: str, target: str, factor: Array, bias: Array, framework: str) -> Node:
    """A map that takes every value to itself, multiplied and added to."""
    if factor.ndim == 1:
        return make_node(name, "Affine", {"weight": np.diag(factor), "bias": bias})
    by_channel, added = _channels(target, factor, framework), _channels(target, bias, framework)
    kernel = np.diag(by_channel).reshape(len(by_channel), len(by_channel), *[1] * (factor.ndim - 1))
    return make_node(name, "Conv2d" if factor.ndim == 3 else "Conv1d", {"weight": kernel, "bias": added})


def _channels(target: str, values: Array, framework: str) -> Array:
    """One value a channel of ``[channel, ...]``."""
    flat = values.reshape(len(values), -1)
    if not np.allclose(flat, flat[:, :1], rtol=1e-12, atol=0):
        detail = (
            f"node {target!r}: thresholds, gains or leaks differ inside a channel; {framework}'s importer takes one "
            "threshold for the layer, and a convolution one factor for the channel"
        )
        raise NotRepresentable("not_uniform", detail, target)
    return flat[:, 0]
