"""A staircase that is soft at first: sums of sigmoids whose slope grows over training, with their true derivative."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.quantizers.form import Phase, level_range
from engine.quantizers.lsq import Lsq

FIRST, LAST = 4.0, 100.0  # slopes at the first and the last step; at 100 a sigmoid rises within 5 % of a level


class SoftSigmoid(Lsq):
    """The registered quantizer ``soft_sigmoid``: annealed sigmoids in training, LSQ's hard levels in the program.

    Source: Shymyrbay, Fouda & Eltawil 2023 (arXiv:2305.19295), after Yang et al. 2019 (arXiv:1911.09464)::

        q(x) = Σ_i d·σ(τ·(x − c_i)) − Qp,   x = w/s,  d = 1 and c_i = −Qp + i − ½ for i = 1..2·Qp
        one bit: q(x) = 2·σ(τ·x) − 1;       τ = 4·25^t over training t = 0..1

    The gradient is the derivative of q, to weights and step alike; no straight-through estimator.

    Example:
        >>> soft = soft_levels(torch.tensor([0.9], dtype=torch.float64), 3, 100.0)
        >>> round(soft.item(), 6)
        1.0
    """

    name = "soft_sigmoid"

    def training_levels(self, weight: Tensor, scale: Tensor, bits: int, phase: Phase) -> Tensor:
        """The soft staircase at this phase's slope."""
        return soft_levels(weight / scale, bits, FIRST * (LAST / FIRST) ** phase.progress)


def soft_levels(ratio: Tensor, bits: int, slope: float) -> Tensor:
    """``q`` of the class docstring.

    Args:
        ratio: weights over their step, any shape.
        bits: width, 1 to 16.
        slope: τ.

    Raises:
        InvalidSpec: ``invalid_plan`` for a width outside 1..16.
    """
    low, high = level_range(bits)
    if bits == 1:
        return 2.0 * torch.sigmoid(slope * ratio) - 1.0
    total = torch.full_like(ratio, float(low))
    for step in range(low, high):  # one level at a time: memory of one copy of the weights each
        total = total + torch.sigmoid(slope * (ratio - (step + 0.5)))
    return total
