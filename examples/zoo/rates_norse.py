"""Trains ``rates_norse``: one wide hidden layer of Norse's ``LIFBoxCell``, reset to zero.

``python -m examples.zoo.rates_norse rates.npz``, in the environment of ``make frameworks``.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from norse.torch import LIFBoxCell, LIFBoxParameters, SequentialState
from norse.torch.utils.export_nir import to_nir
from torch import Tensor, nn

from examples.zoo.training import Recipe, fit, ship, start

SIZES = (64, 512, 10)
TAU_MEM_INV = 100.0  # 1/s: with Norse's step of 1 ms the membrane keeps 0.9 of its value


def network() -> nn.Module:
    """``Linear`` and ``LIFBoxCell`` in turn; parameters are vectors, since scalars cannot be written."""
    layers: list[nn.Module] = []
    for before, after in pairwise(SIZES):
        linear = nn.Linear(before, after)
        nn.init.normal_(linear.weight, std=10.0 / before**0.5)  # the cell multiplies its input by 0.1
        nn.init.zeros_(linear.bias)
        ones = torch.ones(after)
        cell = LIFBoxCell(
            LIFBoxParameters(
                tau_mem_inv=TAU_MEM_INV * ones, v_leak=0 * ones, v_th=ones, v_reset=0 * ones, alpha=torch.tensor(5.0)
            )
        )
        layers += [linear, cell]
    module: nn.Module = SequentialState(*layers)
    return module


def forward(net: nn.Module, x: Tensor) -> Tensor:
    """Output spike counts ``[batch, 10]`` of frames ``[time, batch, 64]``."""
    state, total = None, torch.zeros(x.shape[1], SIZES[-1])
    for frame in x:
        spikes, state = net(frame, state)
        total = total + spikes
    return total


if __name__ == "__main__":
    data = start("rates")
    net = network()
    fit(net, lambda x: forward(net, x), data, Recipe(epochs=30, learning_rate=1e-2, count_scale=0.7))
    ship("rates_norse", to_nir(net, torch.zeros(SIZES[0])), lambda x: forward(net, x), data)
