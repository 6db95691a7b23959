"""Paths of linear maps between neuron layers become connections; chains of weights are composed (DESIGN 4, 5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidModel, NotRepresentable
from engine.network.fields import Shape
from engine.network.graph import Graph
from engine.network.model import INPUT, Array, Connection, Flatten, Map, Scale, SumPool
from engine.network.nodes import (
    Affine,
    AvgPool2d,
    Conv1d,
    Conv2d,
    Delay,
    Input,
    Linear,
    Neuron,
    Node,
    Output,
    SumPool2d,
)
from engine.network.nodes import Flatten as FlattenNode
from engine.network.nodes import Scale as ScaleNode
from engine.network.shapes import Shapes

WEIGHTED = Linear | Conv1d | Conv2d
MAX_DELAY = 65_535  # steps; a buffer of so many spikes per neuron
MAX_PATH_NODES = 2**18  # nodes that all paths cross, counted for every path: a comb of maps has n²/2 of them
Path = tuple[str, ...]  # source, linear maps, target


def find_paths(graph: Graph) -> tuple[Path, ...]:
    """Every way from the Input or a neuron layer over linear maps to the next neuron layer or the Output.

    Raises:
        InvalidModel: ``several_edges`` where edges meet in a linear map, or a weight feeds several nodes. Edges may
            meet in a neuron; copies of a weight are separate layers, which the file must say. ``too_large`` where
            the paths of a comb of maps are too long to compute with.
    """
    targets: dict[str, list[str]] = {name: [] for name in graph.nodes}
    entering = dict.fromkeys(graph.nodes, 0)
    for source, target in graph.edges:
        targets[source].append(target)
        entering[target] += 1
    for name, node in graph.nodes.items():
        if not isinstance(node, Neuron) and entering[name] > 1:
            detail = (
                f"node {name!r} ({node.kind}): expected one edge to enter, found {entering[name]}; sums are read where "
                f"they enter neurons: give each source a copy of the {node.kind}, with a bias in one copy alone"
            )
            raise InvalidModel("several_edges", detail, name)
        if isinstance(node, WEIGHTED) and len(targets[name]) > 1:
            fed = ", ".join(targets[name])
            detail = f"node {name!r} ({node.kind}): expected its weights to feed one node, found {fed}"
            raise InvalidModel("several_edges", detail, name)
    paths: list[Path] = []
    crossed = 0
    for name, node in graph.nodes.items():
        if isinstance(node, Input | Neuron):
            waiting: list[Path] = [(name, target) for target in targets[name]]
            while waiting:
                path = waiting.pop()
                if isinstance(graph.nodes[path[-1]], Neuron | Output):
                    paths.append(path)
                    crossed += len(path)
                    if crossed > MAX_PATH_NODES:
                        detail = (
                            f"the ways between neurons cross more than {MAX_PATH_NODES} nodes in all, those to node "
                            f"{path[-1]!r} among them; expected fewer maps, or fewer branches, between the neurons"
                        )
                        raise InvalidModel("too_large", detail, path[-1])
                else:
                    waiting.extend((*path, target) for target in targets[path[-1]])
    return tuple(sorted(paths))


def has_weight(graph: Graph, path: Path) -> bool:
    """Whether a path crosses a Linear, Affine or Conv2d."""
    return any(isinstance(graph.nodes[name], WEIGHTED) for name in path[1:-1])


def make_connection(graph: Graph, shapes: Shapes, path: Path, delayed: bool, dt_s: float) -> Connection:
    """One connection from a path of linear maps.

    Args:
        graph: the flat graph.
        shapes: what leaves each node.
        path: source, maps, target.
        delayed: whether it sees the spikes of the step before.
        dt_s: length of a step, in which delays are counted.

    Returns:
        The connection, named after its weight node; composed weights are joined by ``+``, and a path without weights
        is named by its nodes joined by ``->``.

    Raises:
        NotRepresentable: ``not_composable``, where a convolution meets another weight with no neuron between, or a
            delay stands where it cannot be moved to the source's spikes.
        InvalidModel: ``invalid_dynamics``, where a delay is no whole number of steps.
    """
    source, target = path[0], path[-1]
    before: list[Map] = []
    after: list[Map] = []
    weights: list[str] = []
    for name in path[1:-1]:
        node = graph.nodes[name]
        if isinstance(node, Delay):
            continue
        if isinstance(node, WEIGHTED):
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
        "delay": _delay_of(graph, shapes, path, dt_s),
    }
    return Connection(**common, **_weight_fields([graph.nodes[name] for name in weights]))


def _all_linear(graph: Graph, names: Sequence[str]) -> bool:
    return all(isinstance(graph.nodes[name], Linear) for name in names)


def _weight_fields(nodes: Sequence[Node]) -> dict[str, Any]:
    if not nodes:
        return {"kind": "identity", "weight": None}
    first = nodes[0]
    if isinstance(first, Conv1d | Conv2d):
        flat = isinstance(first, Conv1d)
        return {
            "kind": "conv1d" if flat else "conv2d",
            "weight": _float64(first.weight),
            "bias": None if first.bias is None else _float64(first.bias),
            "stride": (first.stride,) if flat else first.stride,
            "padding": (first.padding,) if flat else first.padding,
            "dilation": (first.dilation,) if flat else first.dilation,
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


def _scale(node: ScaleNode, given: Shape) -> Map:
    return Scale(np.array(np.broadcast_to(_float64(node.scale), given)))


def _delay_of(graph: Graph, shapes: Shapes, path: Path, dt_s: float) -> NDArray[np.int64] | None:
    """Steps of all Delay nodes of a path, per source neuron.

    A delay per element stays with the spikes as long as nothing but Flatten stands before it; one that is equal for
    all passes every linear map, but no bias, which acts from the first step.
    """
    total = np.zeros(shapes.leaving[path[0]], dtype=np.int64)
    movable, biased, found = True, False, False
    for name in path[1:-1]:
        node = graph.nodes[name]
        if isinstance(node, Delay):
            steps = _whole_steps(node, name, dt_s)
            if biased or not (movable or steps.size == 1):
                detail = f"node {name!r} (Delay): expected it before weights, pools and biases, or one delay for all"
                raise NotRepresentable("not_composable", detail, name)
            total = total + (steps if steps.size == 1 else steps.reshape(total.shape))
            found = True
        movable = movable and isinstance(node, Delay | FlattenNode | ScaleNode)
        bias = getattr(node, "bias", None)
        biased = biased or (bias is not None and bool(np.any(bias)))
    return total if found and total.any() else None


def _whole_steps(node: Delay, name: str, dt_s: float) -> NDArray[np.int64]:
    exact = np.asarray(node.delay, dtype=np.float64) / dt_s
    steps = np.floor(exact + 0.5)
    wrong = (np.abs(exact - steps) > 1e-6 * np.maximum(exact, 1.0)) | (steps > MAX_DELAY)
    if wrong.any():
        found = float(np.asarray(node.delay)[wrong].ravel()[0])
        detail = f"node {name!r} (Delay): expected 0 to {MAX_DELAY} whole steps of {dt_s:g} s, found {found:g} s"
        raise InvalidModel("invalid_dynamics", detail, name)
    if np.all(steps == steps.ravel()[0]):
        steps = steps.ravel()[:1].reshape(())
    return steps.astype(np.int64)


_MAPS: dict[type[Node], Callable[[Any, Shape], Map | None]] = {
    SumPool2d: _pool,
    AvgPool2d: _pool,
    FlattenNode: _flatten,
    ScaleNode: _scale,
}


def _float64(value: Any) -> Array:
    return np.array(value, dtype=np.float64)
