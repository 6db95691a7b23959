"""The linear recurrence ``y_t = carry_t·y_{t−1} + x_t`` and its transpose, in place. Axes ``[time, batch, neuron...]``.

One fused multiply-add a step: it runs at the speed of memory. ``carry`` may lack axes where it is constant over them.
"""

from __future__ import annotations

from torch import Tensor


def forward_scan_(x: Tensor, carry: Tensor) -> Tensor:
    """Overwrite x by ``y_t = carry_t·y_{t−1} + x_t``, ``y_{−1} = 0``.

    Example:
        >>> import torch
        >>> forward_scan_(torch.ones(3, 1, 1), torch.tensor(0.5)).flatten().tolist()
        [1.0, 1.5, 1.75]
    """
    steps = x.unbind(0)
    factors = _factors(carry, x)
    for t in range(1, len(steps)):
        steps[t].addcmul_(steps[t - 1], factors[t] if factors is not None else carry)
    return x


def backward_scan_(x: Tensor, carry: Tensor) -> Tensor:
    """Overwrite x by ``y_t = x_t + carry_{t+1}·y_{t+1}``: the transpose of :func:`forward_scan_`.

    Example:
        >>> import torch
        >>> backward_scan_(torch.ones(3, 1, 1), torch.tensor(0.5)).flatten().tolist()
        [1.75, 1.5, 1.0]
    """
    steps = x.unbind(0)
    factors = _factors(carry, x)
    for t in range(len(steps) - 2, -1, -1):
        steps[t].addcmul_(steps[t + 1], factors[t + 1] if factors is not None else carry)
    return x


def varies_with_time(carry: Tensor, like: Tensor) -> bool:
    """Whether a factor has the time axis of ``like``."""
    return carry.dim() == like.dim()


def _factors(carry: Tensor, like: Tensor) -> tuple[Tensor, ...] | None:
    return carry.unbind(0) if varies_with_time(carry, like) else None
