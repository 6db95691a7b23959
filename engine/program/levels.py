"""Integer weights of one connection as training and program compute them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from engine.network.model import Connection
from engine.program.integerize import pool_factor
from engine.quantizers.form import Phase
from engine.quantizers.registry import quantizer

if TYPE_CHECKING:
    from engine.program.quantized import QuantizedForm


def step_of(form: QuantizedForm, connection: Connection, u: Tensor) -> Tensor:
    """What one level stands for, ``u·2^e``: 0-d, or ``[out, 1, ...]`` where rows have steps of their own.

    Args:
        form: holds the exponents e.
        connection: one with weights.
        u: the base scale of the layer it leads into.
    """
    axes = 0 if connection.weight is None else connection.weight.ndim - 1
    exponents = torch.as_tensor(np.asarray(form.exponents[connection.name]), dtype=torch.float64, device=form.device)
    step = u.flatten() * torch.exp2(exponents)
    return step.reshape(-1, *[1] * axes) if step.numel() > 1 else step.reshape(())


def integer_levels(
    form: QuantizedForm,
    parameters: Mapping[str, Tensor],
    connection: Connection,
    u: Tensor,
    phase: Phase | None = None,
) -> Tensor:
    """Integer weights held in float64 ``[out, in, ...]``; with a phase, what stands in for them in a training step.

    Where the quantizer trains its input range apart (``log2_range:NAME``), weights are rounded in steps of that and
    stand for multiples of the other.

    Args:
        form: plan and exponents.
        parameters: the weights, and the ranges.
        connection: one with weights.
        u: the base scale of the layer it leads into.
        phase: of training.
    """
    plan = form.plan.weights[connection.name]
    weight = parameters[f"weight:{connection.name}"] * pool_factor(connection)
    step, own = step_of(form, connection, u), parameters.get(f"log2_range:{connection.name}")
    if own is not None:
        step = torch.exp2(own).reshape(step.shape)
    method = quantizer(plan.quantizer)
    if phase is None:
        return method.levels(weight, step, plan.bits)
    if phase.share < 1.0 and float(torch.rand((), generator=phase.generator)) >= phase.share:
        return weight / step
    return method.training_levels(weight, step, plan.bits, phase)
