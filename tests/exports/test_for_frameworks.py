"""Networks rewritten for a framework's importer: run as the importer runs them, they give the spikes that they gave."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch

from engine.errors import NotRepresentable
from engine.exports.frameworks.importers import IMPORTERS
from engine.exports.frameworks.order import order_edges
from engine.exports.frameworks.rewrite import ForFramework, rewrite_for
from engine.network.discretise import discretise
from engine.network.graph import Graph
from engine.network.nir_reader import read_nir
from engine.network.nodes import Flatten, Linear, make_node
from engine.network.prepare import prepare
from engine.network.simulate import run
from engine.specs.dynamics import Dynamics, DynamicsRequest, resolve_dynamics
from engine.specs.frameworks import FRAMEWORKS
from tests.fixtures.load import NAMES, load_fixture
from tests.frameworks.graphs import GRAPHS, frames_for


def profile(preset: str, **fields: Any) -> Dynamics:
    return resolve_dynamics(DynamicsRequest(preset=preset, set=fields))


# What the importers build, as read in their code: docs/frameworks.md.
AS_IMPORTED = {
    "snntorch": profile("snntorch-leaky-zero", reset_timing="same_step"),
    "norse": profile("norse", dt_s=1e-3, current_gain="ode"),
    "spikingjelly": profile("spikingjelly"),
}
WITH_SNIPPET = {  # per framework, what a snippet's reset stands for
    ("snntorch", "subtract", "next_step"): {"preset": "snntorch-leaky"},
    ("snntorch", "subtract", "same_step"): {"preset": "snntorch-undelayed"},
    ("snntorch", "none", "same_step"): {"preset": "snntorch-none"},
    ("snntorch", "to_value", "next_step"): {"preset": "snntorch-synaptic-zero"},
    ("snntorch", "to_value", "same_step"): {"preset": "snntorch-leaky-zero", "set": {"reset_timing": "same_step"}},
    ("norse", "subtract", "same_step"): {
        "preset": "norse",
        "set": {"dt_s": 1e-3, "current_gain": "ode", "reset": "subtract"},
    },
    ("norse", "none", "same_step"): {"preset": "norse", "set": {"dt_s": 1e-3, "current_gain": "ode", "reset": "none"}},
    ("spikingjelly", "subtract", "same_step"): {"preset": "spikingjelly", "set": {"reset": "subtract"}},
}


def counts_of(graph: Graph, dynamics: Dynamics, x: np.ndarray) -> np.ndarray:
    found: np.ndarray = run(prepare(discretise(graph, dynamics)), torch.as_tensor(np.moveaxis(x, 0, 1))).counts.numpy()
    return found


def imported(made: ForFramework, framework: str, dynamics: Dynamics) -> Dynamics:
    if not any("reset" in why for reasons in made.needs_snippet.values() for why in reasons):
        return AS_IMPORTED[framework]
    asked = WITH_SNIPPET[(framework, dynamics.reset, dynamics.reset_timing)]
    return resolve_dynamics(DynamicsRequest.model_validate(asked))


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", NAMES)
def test_a_rewritten_fixture_gives_its_counts(framework: Any, name: str, tmp_path: Path) -> None:
    fixture = load_fixture(name)
    graph, dynamics = read_nir(fixture.nir), resolve_dynamics(DynamicsRequest.model_validate(fixture.dynamics))
    try:
        made = rewrite_for(graph, dynamics, framework, snippet=True)
    except NotRepresentable as error:
        assert name in REFUSED[framework], error.detail  # noqa: PT017
        assert error.code == REFUSED[framework][name]  # noqa: PT017
        return
    assert name not in REFUSED[framework]
    made.write(tmp_path / "made.nir")
    again = read_nir(tmp_path / "made.nir")
    nir.read(tmp_path / "made.nir")  # the package's own reader checks types and shapes
    np.testing.assert_array_equal(counts_of(again, imported(made, framework, dynamics), fixture.x), fixture.readout)
    if any("reset" in why for reasons in made.needs_snippet.values() for why in reasons):
        with pytest.raises(NotRepresentable, match=r"importer would build .*; ask for the snippet"):
            rewrite_for(graph, dynamics, framework)
    elif made.needs_snippet:  # thresholds: without a snippet the weights are scaled
        alone = rewrite_for(graph, dynamics, framework)
        assert alone.needs_snippet == {}
        np.testing.assert_array_equal(
            counts_of(alone.graph, imported(alone, framework, dynamics), fixture.x), fixture.readout
        )


def _refused() -> dict[str, dict[str, str]]:
    """Every fixture that a framework cannot be given, and why."""
    many = {name: "several_spikes" for name in NAMES if name.startswith(("sinabs", "rockpool"))}
    readout = "readout_not_importable"
    many |= {"sinabs-expleak-readout": readout, "norse-cubali-readout": readout, "norse-li-readout": readout}
    late = {
        *("snntorch-leaky-conv", "snntorch-leaky-mlp", "snntorch-leaky-undelayed-mlp", "snntorch-rleaky"),
        *("snntorch-rleaky-zero", "snntorch-rsynaptic", "snntorch-rsynaptic-undelayed", "snntorch-rsynaptic-zero"),
        *("snntorch-synaptic-mlp", "snntorch-synaptic-zero-mlp"),
    }
    resets = dict.fromkeys(late, "reset_not_importable")
    tau = {
        *("norse-lif-mlp", "norse-lif-recurrent", "norse-lifbox-conv", "norse-lifbox-mlp", "norse-lifbox-subtract-mlp"),
        *("snntorch-leaky-zero-mlp", "snntorch-leaky-zero-undelayed-mlp"),
    }
    start = dict.fromkeys(("norse-lifbox-conv", "norse-lifbox-mlp"), "start_not_importable")
    soft = dict.fromkeys(("norse-lifbox-subtract-mlp", "spikingjelly-lif-soft-mlp"), "reset_not_importable")
    return {
        "snntorch": many | start | soft,
        "norse": many | resets,
        "spikingjelly": many
        | resets
        | dict.fromkeys(tau, "not_uniform")
        | {"snntorch-leaky-none-mlp": "reset_not_importable"},
    }


REFUSED = _refused()


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_topologies_and_maps(framework: Any, name: str) -> None:
    graph, dynamics = GRAPHS[name]()
    x = frames_for(graph, 24)
    wanted = counts_of(graph, dynamics, x)
    assert (np.ptp(wanted, axis=0) > 0).all()
    made = rewrite_for(graph, dynamics, framework, snippet=True)
    np.testing.assert_array_equal(counts_of(made.graph, imported(made, framework, dynamics), x), wanted)


def line(cell: str, values: dict[str, Any], **nodes: Any) -> Graph:
    """Input, Linear, one cell, Output: two neurons."""
    made = {
        "input": make_node("input", "Input", {"shape": [2]}),
        "w": make_node("w", "Linear", {"weight": [[1.0, 0.5], [0.25, 2.0]]}),
        "cell": make_node("cell", cell, values),
        **nodes,
        "output": make_node("output", "Output", {"shape": [2]}),
    }
    return Graph(made, tuple(pairwise(("input", "w", "cell", *nodes, "output"))))


LIF = {"tau": 4e-4, "r": 1.0, "v_leak": 0.0, "v_threshold": 0.8}
CUBA = {"tau_syn": 3e-4, "tau_mem": 4e-4, "r": 1.0, "v_leak": 0.0, "v_threshold": 0.8, "w_in": 1.0}


@pytest.mark.parametrize(
    ("framework", "graph", "dynamics", "code", "message"),
    [
        ("norse", line("LIF", LIF), profile("sinabs", dt_s=1e-4), "several_spikes", "up to 65535 spikes a step"),
        ("norse", line("LIF", LIF), profile("lava", membrane_floor=-1), "membrane_floor", "neurons of Norse have no"),
        (
            "snntorch",
            line("CubaLIF", CUBA),
            profile("lava", current="old"),
            "old_current",
            "in snnTorch it sees the new",
        ),
        ("snntorch", line("LIF", LIF), profile("nir-paper"), "reset_not_importable", "would build one to zero"),
        ("snntorch", line("LIF", LIF), profile("lava", v_reset=-0.5), "start_not_importable", "start it at its reset"),
        (
            "snntorch",
            line("CubaLIF", CUBA | {"v_leak": 0.1}),
            profile("lava"),
            "leak_not_importable",
            "knows no v_leak of a CubaLIF",
        ),
        (
            "spikingjelly",
            line("LIF", LIF | {"tau": [4e-4, 5e-4]}),
            profile("lava"),
            "not_uniform",
            "tau differs by neuron",
        ),
        ("spikingjelly", line("LIF", LIF | {"tau": 1e-4}), profile("lava"), "leak_not_importable", "tau above dt"),
        (
            "norse",
            line("LIF", LIF),
            profile("snntorch-leaky-zero", v_reset=-0.5),
            "reset_not_importable",
            "to another value than 0",
        ),
        (
            "norse",
            line("LIF", LIF),
            profile("snntorch-leaky", drop_reset_input=True),
            "reset_not_importable",
            "drop_reset_input with a reset by subtraction",
        ),
        ("norse", line("LIF", LIF), profile("nir-paper"), "needs_snippet", "reset to 0 in the same step, where this"),
        ("snntorch", line("LIF", LIF), profile("snntorch-none"), "needs_snippet", "one that does nothing"),
        (
            "spikingjelly",
            line("LIF", LIF),
            profile("nir-paper"),
            "needs_snippet",
            "SpikingJelly's importer would build",
        ),
        (
            "spikingjelly",
            line("Threshold", {"threshold": 0.5}),
            profile("lava"),
            "node_not_importable",
            "knows IF, LIF and CubaLIF alone",
        ),
    ],
)
def test_what_an_importer_cannot_be_told_is_refused(
    framework: Any, graph: Graph, dynamics: Dynamics, code: str, message: str
) -> None:
    with pytest.raises(NotRepresentable, match=message) as caught:
        rewrite_for(graph, dynamics, framework)
    assert caught.value.code == code
    assert caught.value.pointer == "cell"


def test_channels_that_differ_inside_are_refused_without_a_snippet() -> None:
    graph = Graph(
        {
            "input": make_node("input", "Input", {"shape": [1, 2, 2]}),
            "w": make_node("w", "Conv2d", {"weight": np.ones((1, 1, 1, 1))}),
            "cell": make_node("cell", "LIF", LIF | {"v_threshold": [[[0.5, 0.6], [0.7, 0.8]]]}),
            "output": make_node("output", "Output", {"shape": [1, 2, 2]}),
        },
        tuple(pairwise(("input", "w", "cell", "output"))),
    )
    with pytest.raises(NotRepresentable, match="differ inside a channel") as caught:
        rewrite_for(graph, profile("lava"), "snntorch")
    assert (caught.value.code, caught.value.pointer) == ("not_uniform", "cell")
    assert rewrite_for(graph, profile("lava"), "snntorch", snippet=True).needs_snippet == {
        "cell": ("one threshold for the layer",)
    }
    assert rewrite_for(graph, profile("lava"), "norse").needs_snippet == {}


@pytest.mark.parametrize(("kind", "values"), [("Scale", {"scale": [2.0, 3.0]}), ("Delay", {"delay": [1e-4, 2e-4]})])
def test_maps_that_no_importer_knows_are_refused_by_name(kind: str, values: dict[str, Any]) -> None:
    nodes = dict(line("LIF", LIF).nodes)
    nodes["map"] = make_node("map", kind, values)
    graph = Graph(nodes, tuple(pairwise(("input", "map", "w", "cell", "output"))))
    for framework in FRAMEWORKS:
        with pytest.raises(NotRepresentable, match="importer does not know it") as caught:
            rewrite_for(graph, profile("lava"), framework)
        assert (caught.value.code, caught.value.pointer) == ("node_not_importable", "map")


def test_a_loop_over_two_layers_is_refused() -> None:
    nodes = dict(line("LIF", LIF).nodes)
    nodes["second"], nodes["w2"] = nodes["cell"], nodes["w"]
    nodes["back"] = make_node("back", "Linear", {"weight": np.eye(2)})
    ways = (("input", "w", "cell", "w2", "second", "output"), ("second", "back", "cell"))
    graph = Graph(nodes, tuple(edge for way in ways for edge in pairwise(way)))
    for framework in FRAMEWORKS:
        with pytest.raises(NotRepresentable, match="a loop over several layers") as caught:
            rewrite_for(graph, profile("lava"), framework)
        assert caught.value.code == "loop_not_importable"


def test_names_that_torch_has_for_itself_are_replaced() -> None:
    plain = line("LIF", LIF)
    old = {"w": "class", "cell": "forward", "input": "a.b", "output": "a_b"}
    nodes = {old[name]: node for name, node in plain.nodes.items()}
    graph = Graph(nodes, tuple((old[a], old[b]) for a, b in plain.edges))
    made = rewrite_for(graph, profile("lava"), "spikingjelly")
    assert made.renamed == {"a.b": "a_b", "a_b": "a_b_2", "class": "node_class", "forward": "node_forward"}
    assert set(made.graph.nodes) == set(made.renamed.values())


def test_a_loop_is_hidden_from_snntorch_and_its_bias_moves_forward() -> None:
    graph, dynamics = GRAPHS["recurrent"]()
    made = rewrite_for(graph, dynamics, "snntorch", snippet=True)
    (hidden,) = [name for name, node in made.graph.nodes.items() if isinstance(node, Flatten)]
    assert (hidden, "hidden") in made.graph.edges
    assert type(made.graph.nodes["back"]) is Linear


def test_an_order_of_edges_is_found_or_the_wanted_order_of_nodes_given() -> None:
    graph, dynamics = GRAPHS["diamond"]()
    edges, order = order_edges(graph)
    assert sorted(edges) == sorted(graph.edges)
    assert order is not None
    place = {name: index for index, name in enumerate(order)}
    assert all(place[a] < place[b] for a, b in graph.edges)
    assert order[-1] == graph.output
    with pytest.raises(NotRepresentable, match="before what feeds them; ask for the snippet"):
        rewrite_for(graph, dynamics, "norse")
    assert "net.execution_order.sort" in rewrite_for(graph, dynamics, "norse", snippet=True).snippet
    made = rewrite_for(*GRAPHS["recurrent"](), "norse")
    assert made.needs_snippet == {}
    assert made.edges.index(("hidden", "back")) < made.edges.index(("hidden", "fc2"))


def test_every_framework_has_an_importer() -> None:
    assert set(IMPORTERS) == set(FRAMEWORKS)
