"""Trains ``syllables_snntorch``: two layers of snnTorch's ``Synaptic`` (current and membrane), reset to zero.

``python -m examples.zoo.syllables_snntorch syllables.npz``, in the environment of ``make frameworks``.
"""

from __future__ import annotations

from itertools import pairwise

import snntorch as snn
import torch
from snntorch import surrogate
from snntorch.export_nir import export_to_nir
from torch import Tensor, nn

from examples.zoo.training import Recipe, fit, ship, start

SIZES = (40, 160, 12)
ALPHA, BETA = 0.8, 0.95


def network() -> nn.Sequential:
    """``Linear`` and ``Synaptic`` in turn."""
    layers: list[nn.Module] = []
    for before, after in pairwise(SIZES):
        linear = nn.Linear(before, after)
        nn.init.normal_(linear.weight, std=0.5 / before**0.5)
        nn.init.zeros_(linear.bias)
        neuron = snn.Synaptic(
            alpha=torch.full((after,), ALPHA),
            beta=torch.full((after,), BETA),
            threshold=torch.ones(after),
            spike_grad=surrogate.atan(alpha=2.0),
            reset_mechanism="zero",
            init_hidden=True,
        )
        layers += [linear, neuron]
    return nn.Sequential(*layers)


def forward(net: nn.Sequential, x: Tensor) -> Tensor:
    """Output spike counts ``[batch, 12]`` of frames ``[time, batch, 40]``."""
    for layer in net:
        if isinstance(layer, snn.Synaptic):
            layer.reset_mem()
    return torch.stack([net(frame) for frame in x]).sum(0)


if __name__ == "__main__":
    data = start("syllables")
    net = network()
    fit(net, lambda x: forward(net, x), data, Recipe(epochs=25, learning_rate=3e-3, count_scale=0.3))
    sample = torch.zeros(1, SIZES[0])
    ship("syllables_snntorch", export_to_nir(net, sample, ignore_dims=[0]), lambda x: forward(net, x), data)
