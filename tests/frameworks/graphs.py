"""Networks beyond the fixtures, whose numbers every importer can be given: loops, skips, pools, groups, shapes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from engine.network.graph import Graph
from engine.network.nodes import Input, Node, make_node
from engine.specs.dynamics import Dynamics, DynamicsRequest, resolve_dynamics

Made = tuple[Graph, Dynamics]


def frames_for(graph: Graph, samples: int, steps: int = 40) -> np.ndarray:
    """Input spikes ``[sample, time, ...]``."""
    source = graph.nodes[graph.input]
    assert isinstance(source, Input)
    rng = np.random.default_rng(7)
    rates = 0.6 * rng.random((samples, 1, *source.shape))
    return (rng.random((samples, steps, *source.shape)) < rates).astype(np.uint8)


def _lif(theta: float = 0.93, tau: float = 4.3e-4, **more: Any) -> Node:
    return make_node("cell", "LIF", {"tau": tau, "r": tau / 1e-4, "v_leak": 0.0, "v_threshold": theta, **more})


def _linear(rng: np.random.Generator, out: int, fan_in: int, gain: float = 1.5) -> Node:
    return make_node("w", "Linear", {"weight": gain * (rng.normal(0.2, 1.0, (out, fan_in)) / fan_in**0.5)})


def _affine(rng: np.random.Generator, out: int, fan_in: int, gain: float = 1.5) -> Node:
    weight = gain * (rng.normal(0.2, 1.0, (out, fan_in)) / fan_in**0.5)
    return make_node("w", "Affine", {"weight": weight, "bias": 0.1 * rng.normal(size=out)})


def _graph(shape: tuple[int, ...], ways: tuple[tuple[str, ...], ...], outputs: int, **nodes: Node) -> Graph:
    ends = {
        "input": make_node("input", "Input", {"shape": list(shape)}),
        "output": make_node("output", "Output", {"shape": [outputs]}),
    }
    return Graph(nodes | ends, tuple(dict.fromkeys(edge for way in ways for edge in pairwise(way))))


def _dynamics(preset: str = "lava", **fields: Any) -> Dynamics:
    return resolve_dynamics(DynamicsRequest(preset=preset, set=fields))


def recurrent() -> Made:
    """A weight back, with a bias, which acts from the first step."""
    rng = np.random.default_rng(1)
    ways = (("input", "fc", "hidden", "fc2", "out", "output"), ("hidden", "back", "hidden"))
    nodes = {
        "fc": _affine(rng, 12, 8),
        "hidden": _lif(),
        "back": _affine(rng, 12, 12, 0.8),
        "fc2": _linear(rng, 4, 12, 2.5),
    }
    return _graph((8,), ways, 4, **nodes, out=_lif(1.07)), _dynamics()


def skip() -> Made:
    """A layer that is fed twice, once past another."""
    rng = np.random.default_rng(2)
    ways = (("input", "fc", "one", "fc2", "two", "fc3", "out", "output"), ("one", "over", "out"))
    nodes = {"fc": _affine(rng, 12, 8), "one": _lif(), "fc2": _linear(rng, 10, 12), "two": _lif(0.8)}
    nodes |= {"fc3": _linear(rng, 4, 10), "over": _affine(rng, 4, 12)}
    return _graph((8,), ways, 4, **nodes, out=_lif(1.07)), _dynamics()


def diamond() -> Made:
    """Two ways of one length that meet: a depth-first walk takes what follows before the second."""
    rng = np.random.default_rng(3)
    ways = (("input", "fc", "one", "a", "two", "b", "out", "output"), ("one", "c", "three", "d", "out"))
    nodes = {"fc": _affine(rng, 12, 8), "one": _lif(), "a": _linear(rng, 6, 12), "two": _lif(0.8)}
    nodes |= {"b": _linear(rng, 4, 6), "c": _linear(rng, 6, 12), "three": _lif(0.9), "d": _linear(rng, 4, 6)}
    return _graph((8,), ways, 4, **nodes, out=_lif(1.07)), _dynamics()


def images() -> Made:
    """Grouped and dilated convolutions, both pools, a Flatten, a reset below 0 to which the membrane leaks."""
    rng = np.random.default_rng(20)
    first = {"weight": rng.normal(0.15, 0.4, (4, 2, 3, 3)), "bias": 0.05 * rng.normal(size=4), "padding": 1}
    second = {"weight": rng.normal(0.1, 0.4, (4, 2, 2, 2)), "bias": np.zeros(4), "groups": 2, "dilation": 2}
    low: dict[str, Any] = {"v_leak": -0.25, "v_reset": -0.25}
    nodes = {"conv": make_node("conv", "Conv2d", first), "one": _lif(0.5, **low)}
    nodes |= {"mean": make_node("mean", "AvgPool2d", {"kernel_size": 2}), "conv2": make_node("c", "Conv2d", second)}
    nodes |= {"two": _lif(0.55, **low), "sum": make_node("sum", "SumPool2d", {"kernel_size": 2})}
    nodes |= {"flat": make_node("flat", "Flatten", {"start_dim": 0}), "fc": _affine(rng, 3, 4, 2.0)}
    way = ("input", "conv", "one", "mean", "conv2", "two", "sum", "flat", "fc", "out", "output")
    return _graph((2, 8, 8), (way,), 3, **nodes, out=_lif(0.7, **low)), _dynamics("lava", v_reset=None, start="v_reset")


def units() -> Made:
    """Thresholds and gains that differ by neuron, spikes that enter a layer as they are, v ≥ θ."""
    rng = np.random.default_rng(4)
    tau = 3.1e-4
    cells = {
        name: make_node(
            name,
            "LIF",
            {"tau": tau, "v_leak": 0.0, "r": rng.uniform(0.8, 1.4, n), "v_threshold": rng.uniform(0.2, 0.4, n)},
        )
        for name, n in (("one", 8), ("two", 8), ("out", 4))
    }
    way = ("input", "fc", "one", "two", "fc2", "out", "output")
    nodes = {"fc": _affine(rng, 8, 8, 2.0), "fc2": _linear(rng, 4, 8, 3.0), **cells}
    return _graph((8,), (way,), 4, **nodes), _dynamics("lava", spike_test="ge")


GRAPHS: dict[str, Callable[[], Made]] = {one.__name__: one for one in (recurrent, skip, diamond, images, units)}
