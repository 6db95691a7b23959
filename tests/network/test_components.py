"""Cycles among layers, and networks of many layers in a time that grows with their number alone."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest

from engine.errors import InvalidModel
from engine.network.components import components_of
from engine.network.discretise import discretise
from engine.network.graph import Graph
from engine.network.model import Connection
from engine.network.nodes import make_node
from engine.network.prepare import prepare
from engine.specs.dynamics import PRESETS


def link(source: str, target: str) -> Connection:
    return Connection(f"{source}{target}", source, target, "identity", (1,), (1,), None)


def mutual(size: int, links: list[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    """The definition: layers that reach each other."""
    reach = np.eye(size, dtype=bool)
    for source, target in links:
        reach[source, target] = True
    for k in range(size):
        reach |= np.outer(reach[:, k], reach[k])
    both = reach & reach.T
    return tuple(sorted({tuple(np.flatnonzero(row).tolist()) for row in both}))


@pytest.mark.parametrize("seed", range(20))
def test_groups_are_the_layers_that_reach_each_other(seed: int) -> None:
    random = np.random.default_rng(seed)
    size = int(random.integers(1, 25))
    names = tuple(f"n{k}" for k in range(size))
    links = [(int(a), int(b)) for a, b in random.integers(0, size, (int(random.integers(0, 2 * size)), 2))]
    connections = [link("@input", "n0"), *(link(names[a], names[b]) for a, b in links)]
    assert components_of(names, connections) == mutual(size, links)


def network_of(maps: list[str], kind: str, comb: bool) -> Graph:
    """``maps`` one after the other; a comb's also feed the last neuron each."""
    cell = {"r": 1.0, "v_threshold": 1.0}
    nodes = {"in": make_node("in", "Input", {"shape": [1]}), "out": make_node("out", "Output", {"shape": [1]})}
    nodes |= {name: make_node(name, kind, cell if kind == "IF" else {"scale": [1.0]}) for name in maps}
    nodes["z"] = make_node("z", "IF", cell)
    chain = ["in", *maps, "z", "out"]
    edges = set(pairwise(chain)) | ({(name, "z") for name in maps} if comb else set())
    return Graph(nodes, tuple(edges))


def test_a_chain_of_a_thousand_layers_is_prepared_at_once() -> None:
    graph = network_of([f"n{k:04d}" for k in range(1000)], "IF", comb=False)
    start = time.process_time()
    prepared = prepare(discretise(graph, PRESETS["nir-paper"]))
    assert time.process_time() - start < 2
    assert prepared.components == tuple((k,) for k in range(1001))


def test_a_comb_of_maps_is_refused_before_its_paths_fill_the_memory() -> None:
    small = discretise(network_of([f"s{k}" for k in range(50)], "Scale", comb=True), PRESETS["nir-paper"])
    assert len(small.connections) == 50
    with pytest.raises(InvalidModel, match="cross more than 262144 nodes in all") as found:
        discretise(network_of([f"s{k}" for k in range(1000)], "Scale", comb=True), PRESETS["nir-paper"])
    assert found.value.code == "too_large"
