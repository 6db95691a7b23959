"""Scales that are powers of two: weights times their scale are shifts, and nothing else has to be known to use them."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.kernels.through import straight_through
from engine.quantizers.form import Granularity
from engine.quantizers.lsq import Lsq


class PowerOfTwo(Lsq):
    """The registered quantizer ``power_of_two``: LSQ whose step is rounded to a power of two in every forward pass.

    Source: the scale of Wei et al. 2024 (Q-SNN, arXiv:2406.13672), ``2^round(log2 s)``, on the levels of
    :class:`engine.quantizers.lsq.Lsq`. The step is trained through the rounding (straight-through).

    Example:
        >>> PowerOfTwo().constrain(torch.tensor([0.3, 1.5])).tolist()
        [0.25, 2.0]
    """

    name = "power_of_two"

    def parameters(self, weight: Tensor, bits: int, granularity: Granularity) -> Tensor:
        """The power of two next to the MSE-optimal step."""
        return self.constrain(super().parameters(weight, bits, granularity))

    def constrain(self, scale: Tensor, *, up: bool = False) -> Tensor:
        """``2^round(log2 s)``, half to even in the exponent; ``up``: the next one at or above."""
        return nearest_power(scale, up=up)


def nearest_power(scale: Tensor, *, up: bool = False) -> Tensor:
    """The nearest power of two, by exponent, or the next at or above; gradient as if nothing had been rounded.

    Args:
        scale: positive, any shape.
        up: round the exponent up.

    Example:
        >>> nearest_power(torch.tensor(0.3), up=True).item()
        0.5
    """
    exponent = torch.log2(scale.detach().double())
    exact = torch.exp2(torch.ceil(exponent - 1e-9) if up else torch.round(exponent)).to(scale.dtype)
    return straight_through(scale, exact)
