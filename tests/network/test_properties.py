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
from engine.network.nodes import Node, make_node

SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
reals = st.floats(-1e6, 1e6, width=32)
positive = st.floats(2**-20, 2**20, width=32)
NAMES = st.text("abcdefgh.:_-0123456789 äθ", min_size=1, max_size=12).filter(lambda name: name.strip(". ") == name)


@st.composite
def neurons(draw: st.DrawFn, name: str, size: int) -> Node:
    kind = draw(st.sampled_from(["IF", "LIF", "CubaLIF"]))
    keys = {
        "IF": ("r", "v_threshold", "v_reset"),
        "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
        "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
    }[kind]
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    values = {key: draw(arrays(dtype, (size,), elements=positive)) for key in keys}
    return make_node(name, kind, values)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """A chain of weights and neurons, some with feedback."""
    depth = draw(st.integers(1, 4))
    names = draw(st.lists(NAMES, min_size=3 * depth + 2, max_size=3 * depth + 2, unique=True))
    sizes = draw(st.lists(st.integers(1, 5), min_size=depth + 1, max_size=depth + 1))
    nodes: dict[str, Node] = {names[0]: make_node(names[0], "Input", {"shape": [sizes[0]]})}
    edges, last = [], names[0]
    for layer in range(depth):
        weight, cell, back = names[1 + 3 * layer : 4 + 3 * layer]
        values: dict[str, Any] = {"weight": draw(arrays(np.float32, (sizes[layer + 1], sizes[layer]), elements=reals))}
        if draw(st.booleans()):
            values["bias"] = draw(arrays(np.float32, (sizes[layer + 1],), elements=reals))
        nodes[weight] = make_node(weight, "Affine" if "bias" in values else "Linear", values)
        nodes[cell] = draw(neurons(cell, sizes[layer + 1]))
        edges += [(last, weight), (weight, cell)]
        if draw(st.booleans()):
            nodes[back] = make_node(back, "Linear", {"weight": np.eye(sizes[layer + 1])})
            edges += [(cell, back), (back, cell)]
        last = cell
    nodes[names[-1]] = make_node(names[-1], "Output", {"shape": [sizes[-1]]})
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
        assert digest(read_nir(Path(folder) / "x.nir")) == digest(graph)


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
@given(st.sampled_from(["Conv2d", "Linear", "LIF", "Flatten", "SumPool2d", "Input", "CubaLIF"]), st.data())
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
