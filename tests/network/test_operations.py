"""Synaptic operations against a count by hand, spike by spike and synapse by synapse."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from engine.data.batches import Split
from engine.network.discretise import discretise
from engine.network.graph import Graph
from engine.network.measure import measure
from engine.network.model import Network
from engine.network.nodes import make_node
from engine.network.operations import synaptic_operations
from engine.network.prepare import prepare
from engine.network.simulate import run
from engine.specs.dynamics import PRESETS
from tests.program.networks import convolutional, recurrent


def counted(network: Network, x: np.ndarray) -> dict[str, float]:
    """Operations per sample: every non-zero value of every step times the weights, other than zero, that see it."""
    trace = run(prepare(network), torch.as_tensor(x), record="*")
    found = {}
    for link in network.connections:
        values = torch.as_tensor(x) if link.source == "@input" else trace.spikes[link.source]
        values = (values != 0).double().flatten(0, 1)  # [time·sample, ...]
        assert link.weight is not None
        ones = torch.as_tensor(link.weight != 0).double()
        if link.kind == "linear":
            arrived = values.flatten(1) @ ones.T
        else:
            arrived = F.conv2d(values, ones, None, link.stride, link.padding, link.dilation, link.groups)
        found[link.name] = arrived.sum().item() / x.shape[1]
    return found


@pytest.mark.parametrize("preset", ["nir-paper", "sinabs"])
def test_operations_are_what_a_count_by_hand_finds(preset: str) -> None:
    network = recurrent(preset, "lif")
    network.connections[0].weight[0, :2] = 0.0  # pruned synapses cost nothing
    x = (np.random.default_rng(3).random((20, 5, *network.input_shape)) < 0.4).astype(np.uint8) * 2
    prepared = prepare(network)
    activity = measure(prepared, Split(np.moveaxis(x, 1, 0), np.zeros(5, np.int64)))
    operations = synaptic_operations(prepared, activity.busy, 20)
    assert {one.connection: pytest.approx(one.per_sample) for one in operations} == counted(network, x)
    assert {one.connection: one.synapses for one in operations} == {
        link.name: int((link.weight != 0).sum()) for link in network.connections if link.weight is not None
    }


def test_a_pooled_convolution_counts_what_the_pool_passes_on() -> None:
    ones = np.ones((2, 3, 3))
    nodes = {
        "in": make_node("in", "Input", {"shape": [1, 5, 5]}),
        "conv": make_node("conv", "Conv2d", {"weight": np.random.default_rng(0).normal(size=(2, 1, 3, 3)) * 2}),
        "lif": make_node("lif", "IF", {"r": 10_000 * ones, "v_threshold": ones}),
        "pool": make_node("pool", "AvgPool2d", {"kernel_size": 2, "stride": 1}),
        "flat": make_node("flat", "Flatten", {"start_dim": 0, "end_dim": -1}),
        "fc": make_node("fc", "Linear", {"weight": np.ones((3, 8))}),
        "out": make_node("out", "IF", {"r": 10_000 * np.ones(3), "v_threshold": np.ones(3)}),
        "end": make_node("end", "Output", {"shape": [3]}),
    }
    network = discretise(Graph(nodes, tuple(itertools.pairwise(nodes))), PRESETS["nir-paper"])
    x = (np.random.default_rng(3).random((9, 4, 1, 5, 5)) < 0.4).astype(np.uint8)
    prepared = prepare(network)
    activity = measure(prepared, Split(np.moveaxis(x, 1, 0), np.zeros(4, np.int64)))
    conv, fc = synaptic_operations(prepared, activity.busy, 9)
    reach = F.conv_transpose2d(torch.ones(1, 2, 3, 3), torch.ones(2, 1, 3, 3))[0, 0]  # borders reach fewer
    assert conv.per_sample == pytest.approx((torch.as_tensor(x) * reach).sum().item() / 4)
    windows = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]])  # 2×2 windows that see each of 3×3 positions
    spikes = run(prepared, torch.as_tensor(x), record="*").spikes["lif"].numpy()
    assert spikes.any()
    assert fc.per_sample == pytest.approx(((spikes != 0) * windows * 3).sum() / 4)
    assert (conv.source, conv.target, fc.source) == ("input", "lif", "lif")


def test_what_comes_after_the_weighted_sum_costs_nothing_more() -> None:
    network = convolutional("nir-paper")
    (conv,) = [link for link in network.connections if link.kind == "conv2d"]
    assert conv.after
    assert conv.weight is not None
    x = (np.random.default_rng(3).random((10, 3, *network.input_shape)) < 0.4).astype(np.uint8)
    prepared = prepare(network)
    activity = measure(prepared, Split(np.moveaxis(x, 1, 0), np.zeros(3, np.int64)))
    found = {one.connection: one.per_sample for one in synaptic_operations(prepared, activity.busy, 10)}
    ones = torch.ones(conv.weight.shape)
    arrived = F.conv2d(torch.as_tensor(x).float().flatten(0, 1), ones, None, conv.stride, conv.padding)
    assert found["conv"] == pytest.approx(arrived.sum().item() / 3)
