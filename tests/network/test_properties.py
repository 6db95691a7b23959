"""Any graph survives its round trips; any damage to a file is refused with a code, never with a crash."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engine.errors import EngineError, InvalidModel
from engine.network.canonical import digest, from_canonical, to_canonical
from engine.network.graph import Graph
from engine.network.nir_reader import read_nir
from engine.network.nir_writer import write_nir
from engine.network.nodes import NODE_TYPES, Neuron, Node, ShapeMismatch, make_node

SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
reals = st.floats(-1e6, 1e6, width=32)
positive = st.floats(2**-20, 2**20, width=32)
NAMES = st.text("abcdefgh.:_-0123456789 äθ", min_size=1, max_size=12).filter(lambda name: name.strip(". ") == name)


POSITIVE = {"tau", "tau_syn", "tau_mem", "r", "v_threshold", "w_in", "threshold", "delay"}
CELLS = {
    "IF": ("r", "v_threshold", "v_reset"),
    "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
    "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
    "Threshold": ("threshold",),
    "I": ("r",),
    "LI": ("tau", "r", "v_leak"),
    "CubaLI": ("tau_syn", "tau_mem", "r", "v_leak", "w_in"),
    "Scale": ("scale",),
    "Delay": ("delay",),
}
OPTIONAL = {"v_reset", "w_in"}


@st.composite
def elementwise(draw: st.DrawFn, name: str, shape: tuple[int, ...]) -> Node:
    """Any node with a parameter per element; uniform ones and single numbers too, optional ones sometimes absent."""
    kind = draw(st.sampled_from(sorted(CELLS)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    values = {}
    for key in CELLS[kind]:
        elements = positive if key in POSITIVE else reals
        form = draw(st.sampled_from(["array", "uniform", "number"] + ["absent"] * (key in OPTIONAL)))
        if form == "array":
            values[key] = draw(arrays(dtype, shape, elements=elements))
        elif form != "absent":
            values[key] = np.full(shape if form == "uniform" else (), draw(elements), dtype)
    return make_node(name, kind, values)


@st.composite
def map_node(draw: st.DrawFn, name: str, shape: tuple[int, ...]) -> Node:
    """A node that may change the shape: by the number of axes."""
    rank = len(shape)
    kind = draw(
        st.sampled_from({1: ["Linear", "Affine"], 2: ["Conv1d", "Flatten"]}.get(rank, ["Conv2d", "pool", "Flatten"]))
    )
    out = draw(st.integers(1, 4))
    if kind in ("Linear", "Affine"):
        values: dict[str, Any] = {"weight": draw(arrays(np.float32, (out, shape[0]), elements=reals))}
        if kind == "Affine":
            values["bias"] = draw(arrays(np.float32, (out,), elements=reals))
        return make_node(name, kind, values)
    if kind == "Flatten":
        return make_node(name, kind, {"start_dim": 0, "end_dim": draw(st.sampled_from([-1, rank - 1]))})
    if kind == "pool":
        kind = draw(st.sampled_from(["SumPool2d", "AvgPool2d"]))
        size = draw(st.sampled_from([1, [1, 2], 2]))
        return make_node(name, kind, {"kernel_size": size, "padding": draw(st.sampled_from([0, "valid"]))})
    weight = draw(arrays(np.float64, (out, shape[0], *[draw(st.integers(1, 2)) for _ in shape[1:]]), elements=reals))
    values = {"weight": weight, "padding": draw(st.sampled_from([0, 1, "valid"]))}
    if draw(st.booleans()):
        values["bias"] = draw(arrays(np.float64, (out,), elements=reals))
    return make_node(name, kind, values)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """A chain of any nodes from a vector, a line or an image; some with a self-loop, some with a skip connection."""
    depth = draw(st.integers(1, 6))
    names = draw(st.lists(NAMES, min_size=2 * depth + 2, max_size=2 * depth + 2, unique=True))
    shape: tuple[int, ...] = draw(st.sampled_from([(3,), (2, 5), (2, 4, 3)]))
    nodes: dict[str, Node] = {names[0]: make_node(names[0], "Input", {"shape": list(shape)})}
    edges, last = [], names[0]
    for layer in range(depth):
        name, back = names[1 + 2 * layer : 3 + 2 * layer]
        node = draw(elementwise(name, shape) | map_node(name, shape))
        try:
            shape = node.infer(shape)
        except ShapeMismatch:
            continue
        nodes[name] = node
        edges.append((last, name))
        if len(shape) == 1 and draw(st.booleans()):
            nodes[back] = make_node(back, "Linear", {"weight": np.eye(shape[0])})
            loops = isinstance(node, Neuron) and draw(st.booleans())
            edges += [(name, back), (back, name)] if loops else [(name, back)]
        last = name
    nodes[names[-1]] = make_node(names[-1], "Output", {"shape": list(shape)})
    return Graph(nodes, (*edges, (last, names[-1])))


@SETTINGS
@given(graphs())
def test_canonical_bytes_are_an_identity(graph: Graph) -> None:
    data = to_canonical(graph)
    assert to_canonical(from_canonical(data)) == data


@SETTINGS
@given(graphs())
def test_read_write_read_is_an_identity(graph: Graph) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_nir(graph, Path(folder) / "x.nir")
        once = read_nir(Path(folder) / "x.nir")
        assert digest(once) == digest(graph)
        write_nir(once, Path(folder) / "y.nir")
        assert digest(read_nir(Path(folder) / "y.nir")) == digest(graph)


@SETTINGS
@given(graphs(), st.data())
def test_damaged_canonical_bytes_are_refused(graph: Graph, data: st.DataObject) -> None:
    good = bytearray(to_canonical(graph))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(good[: data.draw(st.integers(0, len(good)))]) if data.draw(st.booleans()) else bytes(good)
    with suppress(EngineError):  # any other error is a failure of the test
        from_canonical(cut)


@SETTINGS
@given(st.sampled_from(sorted(NODE_TYPES)), st.data())
def test_strange_values_are_refused_by_name(kind: str, data: st.DataObject) -> None:
    keys = (
        "weight",
        "bias",
        "stride",
        "padding",
        "kernel_size",
        "shape",
        "tau",
        "r",
        "v_leak",
        "v_threshold",
        "start_dim",
        "delay",
        "scale",
        "threshold",
        "tau_syn",
    )
    strange = st.one_of(
        st.none(),
        st.integers(),
        st.floats(),
        st.text(max_size=3),
        st.binary(max_size=3),
        st.lists(st.integers() | st.lists(st.integers(), max_size=2), max_size=3),
        arrays(np.float64, (2, 2)),
        arrays(np.complex64, (1,)),
        arrays(np.bool_, (2,)),
        arrays("U3", (2,)),
    )
    values = data.draw(st.dictionaries(st.sampled_from(keys), strange))
    with suppress(InvalidModel):
        make_node("it", kind, values)
