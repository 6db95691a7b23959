"""Discrete networks against values worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from engine.errors import EngineError, InvalidModel, NotRepresentable
from engine.network.discretise import discretise
from engine.network.graph import Graph
from engine.network.model import INPUT, Flatten, Network, SumPool
from engine.network.nodes import make_node
from engine.network.normal import normalise
from engine.network.summary import summarise
from engine.reference.float_network import simulate_floats
from engine.specs.dynamics import PRESETS, DynamicsRequest, resolve_dynamics


def node(name: str, kind: str, **values: Any) -> Any:
    return make_node(name, kind, values)


def build(edges: str, **kinds: tuple[str, dict[str, Any]]) -> Graph:
    """``"in a out"`` chains, separated by commas, and nodes by name."""
    pairs = [pair for chain in edges.split(",") for pair in zip(chain.split(), chain.split()[1:], strict=False)]
    return Graph({name: make_node(name, kind, values) for name, (kind, values) in kinds.items()}, tuple(pairs))


def make(graph: Graph, preset: str = "nir-paper", **fields: Any) -> Network:
    return discretise(graph, resolve_dynamics(DynamicsRequest(preset=preset, set=fields)))


def port(size: int = 1) -> tuple[str, dict[str, Any]]:
    return ("Input", {"shape": [size]})


def out(size: int = 1) -> tuple[str, dict[str, Any]]:
    return ("Output", {"shape": [size]})


def lif(**values: Any) -> tuple[str, dict[str, Any]]:
    return ("LIF", {"tau": [1e-3], "r": [2.0], "v_leak": [0.5], "v_threshold": [1.0]} | values)


def linear(*rows: list[float], bias: list[float] | None = None) -> tuple[str, dict[str, Any]]:
    return ("Linear", {"weight": rows}) if bias is None else ("Affine", {"weight": rows, "bias": bias})


IF = ("IF", {"r": [1.0], "v_threshold": [1.0]})
CUBA = {"tau_syn": [5e-4], "tau_mem": [1e-3], "r": [3.0], "v_leak": [0.5], "v_threshold": [1.0], "w_in": [2.0]}


def test_lif_factors() -> None:
    graph = build("in w a out", **{"in": port(), "w": linear([1.0]), "a": lif(), "out": out()})
    layer = make(graph).layer("a")
    assert [float(x[0]) for x in (layer.decay_v, layer.gain, layer.drive)] == pytest.approx([0.9, 0.2, 0.05])
    layer = make(graph, integrator="exponential").layer("a")
    share = 1 - math.exp(-0.1)
    assert [float(x[0]) for x in (layer.decay_v, layer.gain, layer.drive)] == pytest.approx(
        [math.exp(-0.1), 2 * share, 0.5 * share]
    )


def test_cubalif_factors_hold_both_filters() -> None:
    graph = build("in w a out", **{"in": port(), "w": linear([1.0]), "a": ("CubaLIF", CUBA), "out": out()})
    layer = make(graph).layer("a")
    assert layer.decay_i is not None
    assert float(layer.decay_i[0]) == pytest.approx(0.8)
    assert float(layer.gain[0]) == pytest.approx(2.0 * 0.2 * 3.0 * 0.1)
    assert float(layer.drive[0]) == pytest.approx(0.05)


def test_if_gain_is_dt_times_r() -> None:
    graph = build("in a out", **{"in": port(), "a": ("IF", {"r": 1e4, "v_threshold": 1.0}), "out": out()})
    network = make(graph)
    assert float(network.layers[0].gain[0]) == pytest.approx(1.0)
    assert network.connections[0].kind == "identity"
    assert network.connections[0].name == "in->a"


def test_feedback_is_delayed_and_its_bias_acts_at_once() -> None:
    graph = build(
        "in w a out,a back a",
        **{"in": port(), "w": linear([0.0]), "a": IF, "back": linear([0.25], bias=[0.5]), "out": out()},
    )
    network = make(graph, dt_s=1.0)
    assert network.delayed_edges == (("back", "a"),)
    back = next(c for c in network.connections if c.name == "back")
    assert (back.delayed, back.source, back.target) == (True, "a", "a")
    run = simulate_floats(network, np.zeros((5, 1, 1)), record=["a"])
    # v: .5, 1.0, 1.5 → spike, .5 left; the spike comes back one step later: .5 + .5 + .25 = 1.25 → spike, .25
    assert run.spikes["a"].ravel().tolist() == [0, 0, 1, 1, 0]
    assert float(run.states["a"].v.ravel()[0]) == pytest.approx(0.25 + 0.5 + 0.25)


def test_named_feedback_edges_replace_the_walk() -> None:
    nodes = {"in": port(), "a": IF, "w": linear([1.0]), "b": IF, "u": linear([1.0]), "out": out()}
    graph = build("in a w b out,b u a", **nodes)
    assert make(graph).delayed_edges == (("u", "a"),)
    assert [layer.name for layer in make(graph).layers] == ["a", "b"]
    other = make(graph, feedback_edges=(("a", "w"),))
    assert [layer.name for layer in other.layers] == ["b", "a"]
    for edges, words in (
        ((("a", "x"),), "no such edge"),
        ((("b", "out"),), "cycle without delay among a, b"),
        ((("in", "a"),), "reads the input"),
    ):
        with pytest.raises(InvalidModel, match=words):
            make(graph, feedback_edges=edges)


def test_chains_of_linear_maps_are_one_connection() -> None:
    graph = build(
        "in w1 w2 a out",
        **{
            "in": port(2),
            "w1": linear([1.0, 2.0], [3.0, 4.0], bias=[1.0, -1.0]),
            "w2": linear([2.0, 1.0], bias=[0.5]),
            "a": IF,
            "out": out(),
        },
    )
    (connection,) = make(graph).connections
    assert connection.name == "w1+w2"
    assert connection.weight is not None
    assert connection.weight.tolist() == [[5.0, 8.0]]
    assert connection.bias is not None
    assert connection.bias.tolist() == [1.5]


def image(*extra: str, **nodes: tuple[str, dict[str, Any]]) -> Graph:
    base = {
        "in": ("Input", {"shape": [1, 4, 4]}),
        "conv": ("Conv2d", {"weight": np.ones((2, 1, 3, 3)), "padding": 1}),
        "pool": ("AvgPool2d", {"kernel_size": 2}),
        "flat": ("Flatten", {"start_dim": 0}),
        "fc": linear([1.0] * 8),
        "a": ("IF", {"r": 1.0, "v_threshold": 1.0}),
        "b": IF,
        "out": out(),
    }
    return build(*extra, **(base | nodes))


def test_maps_stand_before_and_after_weights() -> None:
    network = make(image("in conv pool a flat fc b out"))
    conv, fc = network.connections
    assert conv.after == (SumPool((2, 2), (2, 2), (0, 0), 0.25),)
    assert (conv.source, conv.source_shape, conv.target_shape) == (INPUT, (1, 4, 4), (2, 2, 2))
    assert fc.before == (Flatten(0, 2),)
    facts = summarise(image("in conv pool a flat fc b out"), network)
    assert len(facts.pop("preset_hints")) == len(PRESETS)
    assert facts.pop("target_facts")["neurons"] == 8  # without the output
    rest = facts.pop("program_rest_bytes")
    assert 0 < rest["layer"] <= rest["channel"] < 60
    assert facts == {
        "nodes": 8,
        "parameters": 26,
        "float_bytes": 104,
        "input_shape": [1, 4, 4],
        "repairs": [],
        "outputs": 1,
        "weight_layers": [["conv", 18], ["fc", 8]],
        "neuron_layers": [["a", 8], ["b", 1]],
        "delayed_edges": [],
    }


def test_conv_meets_linear() -> None:
    graph = image("in conv pool flat fc b out", b=IF)
    graph = Graph({k: v for k, v in graph.nodes.items() if k != "a"}, graph.edges)
    with pytest.raises(NotRepresentable, match=r"nodes 'conv' and 'fc'.*expected a neuron layer between"):
        make(graph)


def test_membrane_readout_of_a_linear_map() -> None:
    graph = build("in a w out", **{"in": port(), "a": IF, "w": linear([1.0], [2.0]), "out": out(2)})
    with pytest.raises(InvalidModel, match="node 'w' feeds the Output without a neuron"):
        make(graph)
    network = make(graph, readout="membrane_sum", dt_s=1.0)
    assert (network.output, network.layer("out").kind) == ("out", "li")
    run = simulate_floats(network, 2 * np.ones((3, 1, 1)))
    assert run.counts.tolist() == [[3.0, 6.0]]  # one spike a step


def test_membrane_of_a_leaky_integrator() -> None:
    cell = ("LI", {"tau": [2e-4], "r": [2.0], "v_leak": [0.0]})
    graph = build("in a out", **{"in": port(), "a": cell, "out": out()})
    with pytest.raises(InvalidModel, match=r"'a' \(LI\) never spikes"):
        make(graph)
    run = simulate_floats(make(graph, readout="membrane_last"), np.ones((2, 1, 1)))
    assert run.counts.tolist() == [[1.5]]  # v: 1, then .5·1 + 1
    assert simulate_floats(make(graph, readout="membrane_max"), np.ones((2, 1, 1))).counts.tolist() == [[1.5]]


@pytest.mark.parametrize("kind", ["LIF", "CubaLIF"])
def test_parameters_of_one_value_hold_for_the_layer(kind: str) -> None:
    """NIR broadcasts shape (1,): the network, its digest and its file are those of single numbers."""
    one = {"r": [1.0], "v_leak": [0.0], "v_threshold": [1.5], "v_reset": [0.0]}
    one |= {"tau": [1e-3]} if kind == "LIF" else {"tau_mem": [1e-3], "tau_syn": [2e-3], "w_in": [1.0]}
    width = {"in": port(), "w": ("Affine", {"weight": [[1.0], [2.0], [3.0]], "bias": [0.0, 0.0, 0.1]})}
    graphs = []
    for a in (one, {key: value[0] for key, value in one.items()}, one | {"v_threshold": [1.5] * 3}):
        graphs.append(build("in w a out", **width, a=(kind, a), out=("Output", {"shape": [3]})))
    layers = [make(graph).layer("a") for graph in graphs]
    for layer in layers:
        assert layer.shape == (3,)
        assert layer.threshold is not None
        assert layer.threshold.tolist() == [1.5] * 3
        assert layer.decay_v.tolist() == layers[1].decay_v.tolist()
        assert layer.gain.tolist() == layers[1].gain.tolist()
    short = [normalise(graph).nodes["a"] for graph in graphs]
    assert {np.shape(getattr(node, name)) for node in short for name in one} == {()}
    with pytest.raises(EngineError, match=r"'v_threshold'|expected shape \(2,\), found \(3,\)"):
        make(build("in w a out", **width, a=(kind, one | {"v_threshold": [1.5] * 2}), out=("Output", {"shape": [3]})))


@pytest.mark.parametrize("kind", ["LI", "I"])
def test_a_threshold_behind_an_integrator_is_told_how_to_write_it(kind: str) -> None:
    cell: dict[str, Any] = {"r": [1.0]} | ({"tau": [1e-3], "v_leak": [0.0]} if kind == "LI" else {})
    other = {"w": linear([1.0]), "in": port(), "out": out()}
    apart = build("in w a z out", a=(kind, cell), z=("Threshold", {"threshold": [0.3]}), **other)
    with pytest.raises(EngineError, match=f"write one {kind}F with the same parameters") as caught:
        make(apart)
    assert caught.value.code == "li_inside"
    joined = make(build("in w a out", a=(f"{kind}F", cell | {"v_threshold": [0.3]}), **other), reset="none")
    bare = make(build("in w a out", a=(kind, cell), **other), readout="membrane_last", reset="none")
    x = (np.random.default_rng(3).random((40, 1, 1)) < 0.5).astype(float) * (1.0 if kind == "LI" else 300.0)
    fired = simulate_floats(joined, x).counts.item()
    v = [simulate_floats(bare, x[: k + 1]).counts.item() for k in range(40)]
    assert fired == sum(value > 0.3 for value in v)
    assert 0 < fired < 40


@pytest.mark.parametrize(
    ("edges", "changes", "code", "words"),
    [
        ("in w a out,in v w", {}, "several_edges", "'w'"),
        ("in w a v b out,w b", {"b": IF}, "several_edges", "'w' (Linear): expected its weights"),
        ("in w a out,b a", {"b": IF}, "unused_node", "'b' (IF) is not reached"),
        ("in w a out,a b", {"b": IF}, "unused_node", "'b' (IF) does not lead"),
        ("in w li v a out", {"li": ("LI", {"tau": [1.0], "r": [1.0], "v_leak": [0.0]})}, "li_inside", "'li' (LI)"),
        ("in w a out", {"a": lif(tau=[1e-5])}, "invalid_dynamics", "node 'a': forward Euler"),
        ("in w a out", {"a": lif(r=[-1.0])}, "invalid_parameter", "'r' above 0"),
        ("in out", {}, "unused_node", "without a neuron"),
    ],
)
def test_refusals_name_the_node(edges: str, changes: dict[str, Any], code: str, words: str) -> None:
    nodes = {"in": port(), "w": linear([1.0]), "v": linear([1.0]), "a": IF, "out": out()} | changes
    used = set(edges.replace(",", " ").split())
    with pytest.raises(EngineError) as caught:
        make(build(edges, **{name: value for name, value in nodes.items() if name in used}))
    assert caught.value.code == code
    assert words in caught.value.detail


def test_v_reset_comes_from_the_profile_then_the_file_then_zero() -> None:
    nodes = {"in": port(), "w": linear([1.0]), "a": lif(v_reset=[-0.5]), "out": out()}
    graph = build("in w a out", **nodes)
    assert float(make(graph).layers[0].v_reset[0]) == -0.5
    assert float(make(graph, v_reset=-1.0).layers[0].v_reset[0]) == -1.0
    with pytest.raises(InvalidModel, match="v_reset below v_threshold"):
        make(graph, reset="to_value", v_reset=1.0)


@pytest.mark.parametrize(
    ("preset", "fields", "spikes", "last"),
    [
        ("nir-paper", {"dt_s": 1.0}, [1, 1, 1], 1.5),  # gt, one spike, subtract: 1.5 each step, .5 more left over
        ("sinabs", {"membrane_floor": "none"}, [1, 2, 1], 0.5),  # ge, several spikes
        ("nir-paper", {"dt_s": 1.0, "reset": "to_value"}, [1, 1, 1], 0.0),
        ("nir-paper", {"dt_s": 1.0, "reset": "none"}, [1, 1, 1], 4.5),
        ("snntorch-leaky", {"dt_s": 1.0}, [1, 1, 1], 2.5),  # subtracted one step later
        ("snntorch-synaptic-zero", {"dt_s": 1.0}, [1, 0, 1], 1.5),  # the input of the reset step is lost
    ],
)
def test_resets(preset: str, fields: dict[str, Any], spikes: list[int], last: float) -> None:
    network = make(build("in a out", **{"in": port(), "a": IF, "out": out()}), preset, **fields)
    run = simulate_floats(network, np.full((3, 1, 1), 1.5), record="*")
    assert run.spikes["a"].ravel().tolist() == spikes
    assert float(run.states["a"].v.ravel()[0]) == pytest.approx(last)


def test_floor_and_old_current() -> None:
    network = make(build("in a out", **{"in": port(), "a": IF, "out": out()}), "sinabs")
    assert float(simulate_floats(network, np.full((3, 1, 1), -2.0)).states["a"].v.ravel()[0]) == -1.0
    graph = build("in a out", **{"in": port(), "a": ("CubaLIF", CUBA | {"v_leak": [0.0]}), "out": out()})
    runs = [simulate_floats(make(graph, current=kind), np.ones((1, 1, 1))).states["a"] for kind in ("new", "old")]
    assert [float(state.v.ravel()[0]) for state in runs] == pytest.approx([0.12, 0.0])
    assert float(runs[1].i.ravel()[0]) == pytest.approx(0.12)
