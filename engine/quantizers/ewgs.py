"""Element-wise gradient scaling: weights far from their level are pulled further by the gradient that moves them on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engine.quantizers.form import Phase, level_range
from engine.quantizers.lsq import Lsq

DELTA = 5e-3  # Schaefer et al. 2023


class Ewgs(Lsq):
    """The registered quantizer ``ewgs``: LSQ's levels, ternary at two bits, with a scaled gradient in training.

    Source: Lee et al. 2021 (arXiv:2104.00903) as Schaefer et al. 2023 (arXiv:2302.04174) use it::

        ∂L/∂x = g · (1 + δ · sign(g) · (x − q(x)))   inside the range, x = w/s;   δ = 5e-3

    As there, the input range is trained apart from the output scale (DuQ): weights are rounded in steps of ``a/Qp`` and
    stand for multiples of ``c/Qp``; both begin as the MSE-optimal step. A program knows c alone.

    Example:
        >>> from engine.quantizers.form import Phase
        >>> weight = torch.tensor([0.3], requires_grad=True)
        >>> phase = Phase(0.0, torch.Generator())
        >>> Ewgs().training_levels(weight, torch.tensor(1.0), 3, phase).sum().backward()
        >>> round(weight.grad.item(), 5)
        1.0015
    """

    name = "ewgs"
    own_range = True

    def training_levels(self, weight: Tensor, scale: Tensor, bits: int, phase: Phase) -> Tensor:
        """The program's levels with the gradient above."""
        low, high = level_range(bits)
        ratio = (weight / scale).clamp(low, high)
        levels = self.levels(weight.detach(), scale.detach(), bits)
        result: Tensor = _Scaled.apply(ratio, levels)  # type: ignore[no-untyped-call]
        return result


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ratio: Tensor, levels: Tensor) -> Tensor:
        ctx.save_for_backward(ratio - levels)
        return levels.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (distance,) = ctx.saved_tensors
        return grad * (1.0 + DELTA * grad.sign() * distance), None
