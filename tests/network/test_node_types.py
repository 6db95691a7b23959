"""Every node type of the nir package: written by it, read here, run against values worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch

from engine.errors import EngineError
from engine.network.canonical import digest, from_canonical, to_canonical
from engine.network.discretise import discretise
from engine.network.model import Network
from engine.network.nir_reader import read_nir
from engine.network.nir_writer import write_nir
from engine.network.nodes import NODE_TYPES
from engine.network.prepare import prepare
from engine.network.simulate import run
from engine.reference.float_network import simulate_floats
from engine.specs.dynamics import DynamicsRequest, resolve_dynamics
from tests.network.test_discretise import build, lif, linear, make, out, port

ONES = np.ones(2)
NEURONS = {
    "LIF": nir.LIF(tau=ONES, r=ONES, v_leak=ONES, v_threshold=ONES),
    "CubaLIF": nir.CubaLIF(tau_syn=ONES, tau_mem=ONES, r=ONES, v_leak=ONES, v_threshold=ONES),
    "IF": nir.IF(r=ONES, v_threshold=ONES),
    "LI": nir.LI(tau=ONES, r=ONES, v_leak=ONES),
    "CubaLI": nir.CubaLI(tau_syn=ONES, tau_mem=ONES, r=ONES, v_leak=ONES),
    "I": nir.I(r=ONES),
    "Threshold": nir.Threshold(threshold=ONES),
    "Scale": nir.Scale(scale=ONES),
    "Delay": nir.Delay(delay=ONES),
    "Linear": nir.Linear(weight=np.eye(2)),
    "Affine": nir.Affine(weight=np.eye(2), bias=ONES),
    "NIRGraph": nir.NIRGraph(
        {"input": nir.Input(np.array([2])), "x": nir.Linear(np.eye(2)), "output": nir.Output(np.array([2]))},
        [("input", "x"), ("x", "output")],
    ),
}
SHAPED = {
    "Conv1d": (nir.Conv1d(6, np.ones((3, 2, 3)), 1, 1, 1, 1, np.ones(3)), (2, 6), (3, 6)),
    "Conv2d": (nir.Conv2d((4, 4), np.ones((3, 2, 3, 3)), 1, 0, 1, 1, np.ones(3)), (2, 4, 4), (3, 2, 2)),
    "SumPool2d": (nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])), (2, 4, 4), (2, 2, 2)),
    "AvgPool2d": (nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])), (2, 4, 4), (2, 2, 2)),
    "Flatten": (nir.Flatten(np.array([2, 4, 4]), 0, -1), (2, 4, 4), (32,)),
}
ALL = {name: (node, (2,), (2,)) for name, node in NEURONS.items()} | SHAPED


def test_nothing_of_the_package_is_left_out() -> None:
    theirs = {name for name in nir.ir.__all__ if name[0].isupper() and name != "NIRNode"}
    assert theirs == set(ALL) | {"Input", "Output"} == set(NODE_TYPES) | {"NIRGraph"}


@pytest.mark.parametrize("kind", sorted(ALL))
def test_read_write_read_of_what_the_package_wrote(kind: str, tmp_path: Path) -> None:
    node, before, after = ALL[kind]
    nodes = {"input": nir.Input(np.array(before)), "n": node, "output": nir.Output(np.array(after))}
    nir.write(tmp_path / "theirs.nir", nir.NIRGraph(nodes, [("input", "n"), ("n", "output")]))
    first = read_nir(tmp_path / "theirs.nir")
    write_nir(first, tmp_path / "ours.nir")
    assert digest(read_nir(tmp_path / "ours.nir")) == digest(first) == digest(from_canonical(to_canonical(first)))
    again = nir.read(tmp_path / "ours.nir")
    nir.write(tmp_path / "again.nir", again)
    assert digest(read_nir(tmp_path / "again.nir")) == digest(first)


def both(network: Network, x: np.ndarray[Any, Any]) -> Any:
    """The oracle's run; the fast simulation must equal it."""
    slow = simulate_floats(network, x, "*")
    fast = run(prepare(network), torch.as_tensor(x), record="*")
    for name, spikes in slow.spikes.items():
        np.testing.assert_array_equal(fast.spikes[name].numpy(), spikes)
    np.testing.assert_allclose(fast.counts.numpy(), slow.counts)
    return slow


IF = ("IF", {"r": [1.0], "v_threshold": [1.0]})
STEP = {"dt_s": 1.0}


def test_integrator_and_threshold() -> None:
    graph = build("in w a out", **{"in": port(), "w": linear([1.0]), "a": ("I", {"r": [0.5]}), "out": out()})
    network = make(graph, readout="membrane_last", **STEP)
    assert float(both(network, np.ones((4, 1, 1))).counts[0, 0]) == 2.0
    graph = build(
        "in w a out", **{"in": port(), "w": linear([0.6]), "a": ("Threshold", {"threshold": [1.0]}), "out": out()}
    )
    x = np.array([1.0, 2.0, 1.0, 3.0]).reshape(4, 1, 1)
    for preset in ("nir-paper", "snntorch-leaky", "snntorch-synaptic-zero", "sinabs", "snntorch-undelayed"):
        assert both(make(graph, preset), x).spikes["a"].ravel().tolist() == [0, 1, 0, 1], preset


def test_current_based_integrator_follows_its_equations() -> None:
    values = {"tau_syn": [2.0], "tau_mem": [4.0], "r": [3.0], "v_leak": [0.5], "w_in": [2.0]}
    graph = build("in w a out", **{"in": port(), "w": linear([1.0]), "a": ("CubaLI", values), "out": out()})
    i = v = 0.0
    for x in (1.0, 0.0, 1.0):
        i = 0.5 * i + 2.0 * 0.5 * x
        v = 0.75 * v + 0.25 * (0.5 + 3.0 * i)
    x = np.array([1.0, 0.0, 1.0]).reshape(3, 1, 1)
    assert float(both(make(graph, readout="membrane_last", **STEP), x).counts[0, 0]) == pytest.approx(v)


def test_scale_multiplies_element_by_element() -> None:
    scaled = {"in": port(2), "s": ("Scale", {"scale": [0.5, 2.0]}), "w": linear([1.0, 1.0]), "a": IF, "out": out()}
    x = np.array([[2.0, 0.0], [0.0, 0.25], [1.0, 0.25]]).reshape(3, 1, 2)
    assert both(make(build("in s w a out", **scaled), **STEP), x).spikes["a"].ravel().tolist() == [0, 1, 1]
    after = scaled | {"s": ("Scale", {"scale": 0.5})}
    assert both(make(build("in w s a out", **after), **STEP), x).spikes["a"].ravel().tolist() == [0, 1, 0]


def test_delay_moves_spikes_by_whole_steps() -> None:
    nodes = {"in": port(2), "d": ("Delay", {"delay": [1.0, 3.0]}), "w": linear([2.0, 2.0]), "a": IF, "out": out()}
    x = np.zeros((6, 1, 2))
    x[0] = 1.0
    assert both(make(build("in d w a out", **nodes), **STEP), x).spikes["a"].ravel().tolist() == [0, 1, 0, 1, 1, 0]
    nodes |= {"d": ("Delay", {"delay": [2.0]})}
    late = both(make(build("in w d a out", **nodes), **STEP), x).spikes["a"].ravel().tolist()
    assert late == [0, 0, 1, 1, 1, 0]


def test_delay_in_a_loop_adds_to_its_step() -> None:
    loop = {
        "in": port(),
        "w": linear([2.0]),
        "a": IF,
        "d": ("Delay", {"delay": [2.0]}),
        "b": linear([2.0]),
        "out": out(),
    }
    x = np.zeros((9, 1, 1))
    x[0] = 1.0
    graph = build("in w a out,a d b a", **loop)
    slow = both(make(graph, **STEP), x).spikes["a"].ravel().tolist()
    assert slow == [1, 0, 0, 1, 1, 0, 1, 1, 1]  # every spike comes back three steps later
    own = make(graph, feedback_edges=(), **STEP)  # the delay alone breaks the loop
    assert [c.delayed for c in own.connections] == [False, False]
    assert both(own, x).spikes["a"].ravel().tolist() == [1, 0, 1, 1, 1, 1, 1, 1, 1]


def test_conv1d_is_a_correlation() -> None:
    nodes = {
        "in": ("Input", {"shape": [1, 5]}),
        "c": ("Conv1d", {"weight": [[[1.0, 2.0, 3.0]]], "stride": 2, "padding": 1}),
        "a": ("IF", {"r": 1.0, "v_threshold": 2.5}),
        "out": ("Output", {"shape": [1, 3]}),
    }
    x = np.array([[[[1.0, 0, 0, 1.0, 0]]]])
    assert both(make(build("in c a out", **nodes), **STEP), x).spikes["a"].ravel().tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("chain", "nodes", "words"),
    [
        ("in d w a out", {"d": ("Delay", {"delay": [1.5]})}, "whole steps of 1 s, found 1.5 s"),
        ("in d w a out", {"d": ("Delay", {"delay": [1e6]})}, "0 to 65535 whole steps"),
        ("in w d a out", {"w": linear([1.0], bias=[1.0]), "d": ("Delay", {"delay": [1.0]})}, "before weights, pools"),
        ("in s a out", {"s": ("Scale", {"scale": [1.0, 2.0]})}, "expected shape (2,), found (1,)"),
        ("in i a out", {"i": ("I", {"r": [1.0]})}, "never spikes"),
        ("in i a out", {"i": ("CubaLI", {"tau_syn": 2.0, "tau_mem": 2.0, "r": 1.0, "v_leak": 0.0})}, "never spikes"),
    ],
)
def test_what_a_step_cannot_use_is_refused_by_name(chain: str, nodes: dict[str, Any], words: str) -> None:
    nodes = {"in": port(), "w": linear([1.0]), "a": IF, "out": out()} | nodes
    used = {name: node for name, node in nodes.items() if name in chain.split()}
    with pytest.raises(EngineError) as caught:
        make(build(chain, **used), **STEP)
    assert words in caught.value.detail


def test_the_integer_program_refuses_a_scale_by_name() -> None:
    from engine.program.rounding import check_programmable

    nodes = {"in": port(), "s": ("Scale", {"scale": 2.0}), "w": linear([1.0]), "a": lif(), "out": out()}
    network = discretise(build("in s w a out", **nodes), resolve_dynamics(DynamicsRequest(preset="nir-paper")))
    with pytest.raises(EngineError, match="connection 'w' holds a Scale") as caught:
        check_programmable(network)
    assert caught.value.code == "node_not_representable"
