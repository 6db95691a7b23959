"""Delays and one-dimensional convolutions: the time loop against the slow reference, inside and outside of cycles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.network.model import INPUT, Connection, Flatten, Network
from engine.network.prepare import prepare
from engine.network.simulate import run
from engine.reference.float_network import simulate_floats
from engine.specs.dynamics import PRESETS
from tests.program.networks import _linear, _neurons, recurrent


def _line(groups: int) -> Network:
    rng = np.random.default_rng(groups)
    conv = Connection(
        "conv", INPUT, "maps", "conv1d", (2, 9), (4, 5), rng.normal(size=(4, 2 // groups, 3)), rng.normal(size=4),
        stride=(2,), padding=(2,), dilation=(2,), groups=groups, delay=rng.integers(0, 4, (2, 9)),
    )  # fmt: skip
    fc = replace(_linear(rng, "fc", "maps", "out", 20, 3), source_shape=(4, 5), before=(Flatten(0, 1),))
    return Network(
        PRESETS["nir-paper"], (2, 9), (_neurons("maps", (4, 5), "lif"), _neurons("out", (3,), "if")), (conv, fc), "out"
    )


def _cycle(delayed_forward: bool) -> Network:
    """Two layers that feed each other, with delays on both ways."""
    network = recurrent()
    rng = np.random.default_rng(3)
    back = replace(_linear(rng, "back", "out", "hid", 4, 9), delayed=True, delay=np.array([0, 1, 5, 2]))
    links = [replace(c, delay=rng.integers(0, 3, 9)) if c.name in ("fc2", "rec") else c for c in network.connections]
    links = [replace(c, delayed=delayed_forward) if c.name == "fc2" else c for c in links]
    return replace(network, connections=(*links, back))


@pytest.mark.parametrize("network", [_line(1), _line(2), _cycle(False), _cycle(True)])
def test_time_loop_equals_the_reference(network: Network) -> None:
    x = (np.random.default_rng(0).random((14, 3, *network.input_shape)) < 0.4).astype(np.float64)
    slow = simulate_floats(network, x, ("*",))
    fast = run(prepare(network, dtype=torch.float64), torch.as_tensor(x), record="*")
    for name, spikes in slow.spikes.items():
        assert spikes.any()
        np.testing.assert_array_equal(fast.spikes[name].numpy(), spikes)
