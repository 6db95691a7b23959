"""Fixed point without a scale factor, rounded at random while it is trained."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.quantizers.form import Granularity, Phase, level_range, scale_axis
from engine.quantizers.lsq import Lsq
from engine.quantizers.power_of_two import nearest_power


class FixedPoint(Lsq):
    """The registered quantizer ``fixed_point``: ``b`` bits of which ``b − 1`` are fraction bits, saturating.

    Source: Lui & Neftci 2021 (arXiv:2104.14117), after their published code's setting::

        ŵ = 2^-(b−1) · clip(R(w·2^(b−1)), −Qp, Qp),   Qp = 2^(b−1)−1
        R in training: floor(x + r), r uniform in [0, 1);   R of the program: nearest

    No scale is calibrated or trained, so weights beyond ±1 saturate. Random rounding keeps updates that are smaller
    than a level: its mean is the weight itself. Gradients are the identity inside the range, 0 outside. The range is
    narrow (the paper's holds one level more below zero); one bit is the sign.

    Example:
        >>> FixedPoint().to_integers(torch.tensor([[0.3, -2.0]]), torch.tensor(0.125), 4)
        tensor([[ 2, -7]], dtype=torch.int32)
    """

    name = "fixed_point"
    free_scale = False

    def parameters(self, weight: Tensor, bits: int, granularity: Granularity) -> Tensor:
        """``2^-(b−1)`` for every layer and row."""
        level_range(bits)
        shape = [] if scale_axis(granularity) is None else [weight.shape[0], *[1] * (weight.dim() - 1)]
        return torch.full(shape, 2.0 ** -(bits - 1), dtype=weight.dtype, device=weight.device)

    def constrain(self, scale: Tensor, *, up: bool = False) -> Tensor:
        """A power of two, without gradient: the scale is not trained."""
        return nearest_power(scale.detach(), up=up)

    def training_levels(self, weight: Tensor, scale: Tensor, bits: int, phase: Phase) -> Tensor:
        """Randomly rounded levels."""
        low, high = level_range(bits)
        ratio = (weight / scale).clamp(low, high)
        if bits == 1:
            return self.levels(weight, scale, bits)
        noise = torch.rand(ratio.shape, generator=phase.generator, dtype=ratio.dtype).to(ratio.device)
        rounded = torch.floor(ratio.detach() + noise).clamp(low, high)
        return ratio + (rounded - ratio).detach()
