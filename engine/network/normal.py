"""The normal form of a graph: what two files that mean the same have in common, so that their digests agree.

The ``nir`` package wants every field in full; other writers leave out what is zero, or write one number for a layer.
Reading brings all of them to the shortest form, writing to the longest, and so read, write, read is the identity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np

from engine.network.fields import Shape
from engine.network.graph import Graph
from engine.network.nodes import Conv1d, Conv2d, Elementwise, Flatten, Node
from engine.network.shapes import Shapes

DEFAULTS = {"v_reset": 0.0, "w_in": 1.0}


def normalise(graph: Graph) -> Graph:
    """The shortest form of a graph whose shapes were checked.

    Parameters that are equal all over a layer become one number, ``v_reset`` and ``w_in`` their defaults where absent,
    convolutions without bias get zeros (in a file they always have one), and hints of shapes are dropped: they were
    checked, and follow from the Input.

    Example:
        >>> from engine.network.nodes import make_node
        >>> port, cell = {"shape": [3]}, {"r": [2.0, 2.0, 2.0], "v_threshold": 1.0}
        >>> nodes = {"in": make_node("in", "Input", port), "out": make_node("out", "Output", port)}
        >>> nodes["a"] = make_node("a", "IF", cell)
        >>> short = normalise(Graph(nodes, (("in", "a"), ("a", "out")))).nodes["a"]
        >>> float(short.r), float(short.v_reset)
        (2.0, 0.0)
    """
    return Graph({name: _shorten(node) for name, node in graph.nodes.items()}, graph.edges, graph.repairs)


def complete(node: Node, name: str, shapes: Shapes) -> dict[str, Any]:
    """Every field of a node as the ``nir`` package wants it: the longest form."""
    values = {entry.name: getattr(node, entry.name) for entry in fields(node)}
    given = shapes.entering.get(name)
    for kind, fill in _FILL.items():
        if isinstance(node, kind):
            values = fill(values, given)
    return {key: value for key, value in values.items() if value is not None}


def _shorten(node: Node) -> Node:
    if isinstance(node, Elementwise):
        values = {entry.name: getattr(node, entry.name) for entry in fields(node)}
        values |= {key: DEFAULTS[key] for key, value in values.items() if value is None}
        return replace(node, **{key: _one_number(np.asarray(value)) for key, value in values.items()})
    if isinstance(node, Conv1d | Conv2d):
        return replace(node, bias=_bias(node.weight, node.bias), input_shape=None)
    return replace(node, input_type=None) if isinstance(node, Flatten) else node


def _one_number(array: Any) -> Any:
    return array.ravel()[0] if array.ndim and np.all(array == array.ravel()[0]) else array


def _bias(weight: Any, bias: Any) -> Any:
    return np.zeros(len(weight), weight.dtype) if bias is None else bias


def _fill_parameters(values: dict[str, Any], given: Shape | None) -> dict[str, Any]:
    values = {key: DEFAULTS[key] if value is None else value for key, value in values.items()}
    shape = given or np.broadcast_shapes(*(np.shape(value) for value in values.values()))
    return {key: np.broadcast_to(value, shape) for key, value in values.items()}


def _fill_convolution(values: dict[str, Any], given: Shape | None) -> dict[str, Any]:
    size = None if given is None else given[1:] if len(given) == 3 else given[1]
    return values | {"bias": _bias(values["weight"], values["bias"]), "input_shape": values["input_shape"] or size}


def _fill_flatten(values: dict[str, Any], given: Shape | None) -> dict[str, Any]:
    return values | {"input_type": values["input_type"] or given}


_FILL: dict[type[Node], Callable[[dict[str, Any], Shape | None], dict[str, Any]]] = {
    Elementwise: _fill_parameters,
    Conv1d: _fill_convolution,
    Conv2d: _fill_convolution,
    Flatten: _fill_flatten,
}
