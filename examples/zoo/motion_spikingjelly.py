"""Trains ``motion_spikingjelly``: three convolutions and two linear layers of IF neurons with hard reset.

``python -m examples.zoo.motion_spikingjelly motion.npz``, in the environment of ``make frameworks``.
"""

from __future__ import annotations

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from spikingjelly.activation_based.nir_exchange import export_to_nir
from torch import Tensor, nn

from examples.zoo.training import Recipe, fit, ship, start

SHAPE = (2, 12, 12)
CLASSES = 10


def network() -> nn.Sequential:
    """12 × 12 → 12 × 12 → 6 × 6 → 3 × 3 → 64 → 10, step mode ``m`` (all steps at once)."""

    def fires() -> neuron.IFNode:
        return neuron.IFNode(surrogate_function=surrogate.ATan(), step_mode="m")

    return nn.Sequential(
        layer.Conv2d(2, 16, 3, padding=1, step_mode="m"),
        fires(),
        layer.Conv2d(16, 24, 3, stride=2, padding=1, step_mode="m"),
        fires(),
        layer.Conv2d(24, 32, 3, stride=2, padding=1, step_mode="m"),
        fires(),
        layer.Flatten(step_mode="m"),
        layer.Linear(288, 64, bias=False, step_mode="m"),
        fires(),
        layer.Linear(64, CLASSES, bias=False, step_mode="m"),
        fires(),
    )


def forward(net: nn.Sequential, x: Tensor) -> Tensor:
    """Output spike counts ``[batch, 10]`` of frames ``[time, batch, 2, 12, 12]``."""
    functional.reset_net(net)
    spikes: Tensor = net(x)
    return spikes.sum(0)


if __name__ == "__main__":
    data = start("motion")
    net = network()
    fit(net, lambda x: forward(net, x), data, Recipe(epochs=25, learning_rate=3e-3, count_scale=1.0))
    functional.reset_net(net)
    graph = export_to_nir(net, torch.zeros(1, 1, *SHAPE))
    ship("motion_spikingjelly", graph, lambda x: forward(net, x), data)
