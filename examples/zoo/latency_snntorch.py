"""Trains ``latency_snntorch``: three layers of snnTorch's ``Leaky``, reset by subtraction one step later.

``python -m examples.zoo.latency_snntorch latency.npz``, in the environment of ``make frameworks``.
"""

from __future__ import annotations

from itertools import pairwise

import snntorch as snn
import torch
from snntorch import surrogate
from snntorch.export_nir import export_to_nir
from torch import Tensor, nn

from examples.zoo.training import Recipe, fit, ship, start

SIZES = (64, 96, 64, 10)
BETA = 0.9


def network() -> nn.Sequential:
    """``Linear`` and ``Leaky`` in turn; decay and threshold are vectors, since scalars are not exported."""
    layers: list[nn.Module] = []
    for before, after in pairwise(SIZES):
        linear = nn.Linear(before, after, bias=False)
        nn.init.normal_(linear.weight, std=1.5 / before**0.5)
        neuron = snn.Leaky(
            beta=torch.full((after,), BETA),
            threshold=torch.ones(after),
            spike_grad=surrogate.atan(alpha=2.0),
            reset_mechanism="subtract",
            init_hidden=True,
        )
        layers += [linear, neuron]
    return nn.Sequential(*layers)


def forward(net: nn.Sequential, x: Tensor) -> Tensor:
    """Output spike counts ``[batch, 10]`` of frames ``[time, batch, 64]``."""
    for layer in net:
        if isinstance(layer, snn.Leaky):
            layer.reset_mem()
    return torch.stack([net(frame) for frame in x]).sum(0)


if __name__ == "__main__":
    data = start("latency")
    net = network()
    fit(net, lambda x: forward(net, x), data, Recipe(epochs=40, learning_rate=3e-3, count_scale=0.5))
    sample = torch.zeros(1, SIZES[0])
    ship("latency_snntorch", export_to_nir(net, sample, ignore_dims=[0]), lambda x: forward(net, x), data)
