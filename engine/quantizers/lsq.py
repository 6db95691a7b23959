"""Learned step size quantization (Esser et al. 2020, arXiv:1902.08153), started from MSE-optimal scales."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from engine.quantizers.form import Granularity, Phase, level_range, scale_axis
from engine.quantizers.mse import mse_scale


class Lsq:
    """The registered quantizer ``lsq``.

    Source: Esser et al. 2020, equations 1 to 3 and section 2.2, with the narrow symmetric range of DESIGN 5::

        q = round(clip(w/s, −Qp, Qp)),  ŵ = q·s,  Qp = 2^(b−1)−1
        ∂ŵ/∂w = 1 inside the range, 0 outside
        ∂ŵ/∂s = g·(q − w/s) inside, g·q outside;   g = 1/√(N·Qp),  N = weights that share the step

    Rounding is half to even. At one bit q = sign(w) with sign(0) = +1, and the same gradients with Qp = 1.

    Example:
        >>> weight = torch.tensor([[0.9, -0.2, 0.4]])
        >>> Lsq().to_integers(weight, torch.tensor(0.3), 3)
        tensor([[ 3, -1,  1]], dtype=torch.int32)
    """

    name = "lsq"
    free_scale = True
    own_range = False

    def parameters(self, weight: Tensor, bits: int, granularity: Granularity) -> Tensor:
        """MSE-optimal step of the layer (0-d) or of each output channel (``[out, 1, ...]``)."""
        return mse_scale(weight, bits, scale_axis(granularity))

    def levels(self, weight: Tensor, scale: Tensor, bits: int) -> Tensor:
        """q as floats; straight-through without g: ∂q/∂w = 1/s and ∂q/∂s = −w/s² inside the range, 0 outside.

        A caller that uses the step in more places than one (thresholds are divided by it too) passes
        ``scaled_step(weight, scale, bits)`` here and there, which puts g on every path.
        """
        return _levels(weight, scale, bits)

    def training_levels(self, weight: Tensor, scale: Tensor, bits: int, phase: Phase) -> Tensor:
        """The same as ``levels``."""
        return self.levels(weight, scale, bits)

    def constrain(self, scale: Tensor, *, up: bool = False) -> Tensor:
        """Every positive scale is allowed."""
        return scale

    def fake_quantize(self, weight: Tensor, scale: Tensor, bits: int) -> Tensor:
        """``ŵ`` with the gradients of the class docstring."""
        step = scaled_step(weight, scale, bits)
        return _levels(weight, step, bits) * step

    def to_integers(self, weight: Tensor, scale: Tensor, bits: int) -> Tensor:
        """The same integers as ``levels``, int32."""
        return _levels(weight.detach(), scale.detach(), bits).to(torch.int32)


def step_gradient_scale(weight: Tensor, scale: Tensor, bits: int) -> float:
    """``g = 1/√(N·Qp)`` with N the number of weights that share one step (Esser et al. 2020, section 2.2).

    It balances the relative size of the step's update against that of the weights.

    Args:
        weight: ``[out, in, ...]``.
        scale: 0-d or broadcastable against ``weight``.
        bits: width, 1 to 16.

    Raises:
        InvalidSpec: ``invalid_plan`` for a width outside 1..16.

    Example:
        >>> step_gradient_scale(torch.zeros(2, 12), torch.ones(2, 1), 3)
        0.16666666666666666
    """
    _, top = level_range(bits)
    return 1.0 / math.sqrt(max(weight.numel() // max(scale.numel(), 1), 1) * top)


def scaled_step(weight: Tensor, scale: Tensor, bits: int) -> Tensor:
    """The scale with its value unchanged, to the bit, and its gradient times ``step_gradient_scale``.

    Args:
        weight: ``[out, in, ...]``, the weights that share the steps.
        scale: 0-d or broadcastable against ``weight``.
        bits: width, 1 to 16.

    Raises:
        InvalidSpec: ``invalid_plan`` for a width outside 1..16.

    Example:
        >>> scale = torch.ones(2, 1, requires_grad=True)
        >>> scaled_step(torch.zeros(2, 12), scale, 3).sum().backward()
        >>> scale.grad.flatten().tolist()
        [0.1666666716337204, 0.1666666716337204]
    """
    return _ScaledGradient.apply(scale, step_gradient_scale(weight, scale, bits))  # type: ignore[no-any-return, no-untyped-call]


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, value: Tensor, factor: float) -> Tensor:
        ctx.factor = factor  # type: ignore[attr-defined]
        return value.view_as(value)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.factor, None  # type: ignore[attr-defined]


class _Round(torch.autograd.Function):
    """Rounding with the identity as its gradient; half to even, or to the sign where only ±1 exist."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, ratio: Tensor, bits: int) -> Tensor:
        return torch.where(ratio >= 0, 1.0, -1.0).to(ratio.dtype) if bits == 1 else ratio.round()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def _levels(weight: Tensor, step: Tensor, bits: int) -> Tensor:
    low, high = level_range(bits)
    return _Round.apply((weight / step).clamp(low, high), bits)  # type: ignore[no-any-return, no-untyped-call]
