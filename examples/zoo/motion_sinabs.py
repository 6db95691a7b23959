"""Trains ``motion_sinabs``: convolutions with sum pooling of Sinabs' IAF neurons, several spikes a step, floor −1.

``python -m examples.zoo.motion_sinabs motion.npz``, in the Sinabs environment of ``make frameworks``.
"""

from __future__ import annotations

import sinabs.layers as sl
import torch
from sinabs.nir import to_nir
from torch import Tensor, nn

from examples.zoo.training import Recipe, fit, ship, start

SHAPE = (2, 12, 12)
CLASSES = 10


def network() -> nn.Sequential:
    """12 × 12, pooled to 6 × 6, then 3 × 3 → 10; the neurons see batch and time as one axis."""

    def fires() -> sl.IAFSqueeze:
        return sl.IAFSqueeze(batch_size=1, min_v_mem=-1.0)

    return nn.Sequential(
        nn.Conv2d(2, 12, 3, padding=1, bias=False),
        fires(),
        sl.SumPool2d(2),
        nn.Conv2d(12, 24, 3, stride=2, padding=1, bias=False),
        fires(),
        nn.Flatten(),
        nn.Linear(216, CLASSES, bias=False),
        fires(),
    )


def forward(net: nn.Sequential, x: Tensor) -> Tensor:
    """Output spike counts ``[batch, 10]`` of frames ``[time, batch, 2, 12, 12]``."""
    steps, batch = x.shape[:2]
    for module in net:
        if isinstance(module, sl.IAFSqueeze):
            module.batch_size, module.num_timesteps = batch, -1
            module.reset_states()
    spikes: Tensor = net(x.transpose(0, 1).flatten(0, 1))  # [batch·time, ...] as the squeezed layers expect
    return spikes.reshape(batch, steps, CLASSES).sum(1)


if __name__ == "__main__":
    data = start("motion")
    net = network()
    fit(net, lambda x: forward(net, x), data, Recipe(epochs=30, learning_rate=2e-3, count_scale=0.5))
    forward(net, torch.zeros(1, 1, *SHAPE))  # neurons take their shape from what they saw last
    graph = to_nir(net, torch.zeros(1, *SHAPE))
    graph.infer_types()  # convolutions lack their input shape until then
    ship("motion_sinabs", graph, lambda x: forward(net, x), data)
