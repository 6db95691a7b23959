"""Trains ``deep_spikingjelly``: five layers of SpikingJelly's LIF neurons with hard reset.

``python -m examples.zoo.deep_spikingjelly syllables.npz``, in the environment of ``make frameworks``.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from spikingjelly.activation_based.nir_exchange import export_to_nir
from torch import Tensor, nn

from examples.zoo.training import Recipe, fit, ship, start

SIZES = (40, 96, 64, 64, 48, 12)
TAU = 12.0  # steps: the membrane keeps 11/12 of its value


def network() -> nn.Sequential:
    """``Linear`` and ``LIFNode`` in turn, step mode ``m``."""
    layers: list[nn.Module] = []
    for before, after in pairwise(SIZES):
        linear = layer.Linear(before, after, bias=False, step_mode="m")
        nn.init.normal_(linear.weight, std=1.2 / before**0.5)
        spikes = neuron.LIFNode(tau=TAU, decay_input=False, surrogate_function=surrogate.ATan(), step_mode="m")
        layers += [linear, spikes]
    return nn.Sequential(*layers)


def forward(net: nn.Sequential, x: Tensor) -> Tensor:
    """Output spike counts ``[batch, 12]`` of frames ``[time, batch, 40]``."""
    functional.reset_net(net)
    spikes: Tensor = net(x)
    return spikes.sum(0)


if __name__ == "__main__":
    data = start("syllables")
    net = network()
    fit(net, lambda x: forward(net, x), data, Recipe(epochs=25, learning_rate=3e-3, count_scale=0.5))
    functional.reset_net(net)
    graph = export_to_nir(net, torch.zeros(1, 1, SIZES[0]))
    ship("deep_spikingjelly", graph, lambda x: forward(net, x), data)
