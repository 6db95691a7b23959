"""The straight-through estimator (Bengio, Léonard & Courville 2013, arXiv:1308.3432): one value, another's gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def straight_through(smooth: Tensor, exact: Tensor) -> Tensor:
    """The value of ``exact``, to the bit, with the gradient of ``smooth``; both of one shape and dtype.

    Example:
        >>> x = torch.tensor(0.3, requires_grad=True)
        >>> y = straight_through(2.0 * x, torch.tensor(1.0))
        >>> y.backward()
        >>> y.item(), x.grad.item()
        (1.0, 2.0)
    """
    result: Tensor = _Through.apply(smooth, exact)  # type: ignore[no-untyped-call]
    return result


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, smooth: Tensor, exact: Tensor) -> Tensor:
        return exact.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None
