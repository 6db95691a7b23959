"""What rounding one layer costs: predicted from its trace, and from derivatives along the actual rounding."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from engine.curvature.blocks import Blocks
from engine.curvature.measured_cost import mean_and_error
from engine.curvature.objective import Objective
from engine.curvature.quadratic import along
from engine.quantizers.form import Granularity
from engine.quantizers.registry import quantizer


def rounded(weight: Tensor, bits: int, granularity: Granularity) -> Tensor:
    """The weight rounded to a width at its MSE-optimal scale, same shape and dtype.

    Values are those of float32, as files hold weights: convolutions of few bits have a quick exact form
    (:mod:`engine.kernels.exact_conv`).

    Args:
        weight: ``[out, in, ...]``.
        bits: width, 1 to 16.
        granularity: one scale a layer or one a channel.

    Raises:
        InvalidSpec: ``invalid_plan`` for a width outside 1..16.

    Example:
        >>> import torch
        >>> rounded(torch.tensor([[3.0, -1.2, 0.1]]), 3, "layer").tolist()
        [[3.0, -1.0, 0.0]]
    """
    method = quantizer("lsq")
    scale = method.parameters(weight, bits, granularity)
    return method.fake_quantize(weight.detach(), scale, bits).float().to(weight.dtype)


def predicted_increase(trace: float, parameters: int, squared_distance: float) -> float:
    """``½·trace/N·‖δW‖²``: the quadratic form of δW if curvature were equal in all N directions.

    Source: HAWQ-V2 (Dong et al. 2020, arXiv:1911.03852), equation 8; with the ½ it is a loss in nats.

    Example:
        >>> predicted_increase(trace=10.0, parameters=5, squared_distance=0.1)
        0.1
    """
    return 0.5 * trace / parameters * squared_distance


def quadratic_increases(
    objective: Objective, changes: Mapping[tuple[str, int], Tensor], *, hessian: bool, dtype: torch.dtype
) -> dict[tuple[str, int], tuple[float, float | None]]:
    """``gᵀδW + ½·δWᵀQδW`` for actual changes of one layer each: a dot product and a tangent pass (PERFORMANCE 0).

    Args:
        objective: network, samples, loss, surrogate.
        changes: (layer, bits) → δW ``[out, in, ...]``.
        hessian: Q is the full Hessian; else the Gauss-Newton matrix.
        dtype: of the derivatives.

    Returns:
        (layer, bits) → (increase of the mean loss in nats, its standard error over samples; None for one sample).
    """
    values: dict[tuple[str, int], list[Tensor]] = {key: [] for key in changes}
    for block in Blocks(objective, dtype):
        for key, change in changes.items():
            bent = block.bent if hessian else None
            found = along(block.network, block.loss, block.labels, {key[0]: change}, bent)
            form = found.gauss_newton if found.rest is None else found.gauss_newton + found.rest
            values[key].append((found.slope + 0.5 * form).double().cpu())
    return {key: mean_and_error(torch.cat(parts)) for key, parts in values.items()}
