"""Losses on a network's outputs, each with a square root of its Hessian. Axes ``[batch, output]``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

SATURATED = 1e-4  # mean 1 − Σp²; trained networks at a fitted scale have 0.01 to 0.3


class OutputLoss(Protocol):
    """What curvature needs of a loss ``ℓ(z, y)`` per sample, z being spike counts or the membrane readout."""

    @property
    def logit_scale(self) -> float:
        """What multiplies the outputs."""
        ...

    def values(self, counts: Tensor, labels: Tensor) -> Tensor:
        """ℓ per sample, ``[batch]``, nats where it is a cross-entropy."""

    def slope(self, counts: Tensor, labels: Tensor) -> Tensor:
        """``∂ℓ/∂z`` per sample, ``[batch, output]``, without gradient."""

    def root(self, counts: Tensor, directions: Tensor) -> Tensor:
        """``A·ξ`` with ``A·Aᵀ = ∂²ℓ/∂z²`` per sample, ``[batch, output]``, without gradient."""

    def curvature(self, counts: Tensor, directions: Tensor) -> Tensor:
        """``d'·∂²ℓ/∂z²·d`` per sample, ``[batch]``, without gradient."""

    def saturated(self, counts: Tensor) -> bool:
        """Whether the loss hardly bends at these outputs, so that a quadratic form says little about it."""


@dataclass(frozen=True)
class CrossEntropy:
    """``ℓ = −log softmax(c·z)_y`` with c the logit scale.

    ``∂²ℓ/∂z² = c²·(diag(p) − p·pᵀ)``. Its root is ``A = c·(diag(√p) − p·√pᵀ)``, since with ``√pᵀ·√p = 1`` ::

        A·Aᵀ / c² = diag(p) − √p∘√p·pᵀ − p·(√p∘√p)ᵀ + p·(√pᵀ√p)·pᵀ = diag(p) − p·pᵀ

    Example:
        >>> loss = CrossEntropy(logit_scale=1.0)
        >>> loss.values(torch.zeros(1, 4), torch.tensor([2])).item()
        1.3862943649291992
    """

    logit_scale: float = 1.0

    def values(self, counts: Tensor, labels: Tensor) -> Tensor:
        """ℓ per sample, nats."""
        return F.cross_entropy(counts * self.logit_scale, labels, reduction="none")

    def slope(self, counts: Tensor, labels: Tensor) -> Tensor:
        """``c·(p − onehot(y))``."""
        p = (counts.detach() * self.logit_scale).softmax(dim=1)
        return self.logit_scale * (p - F.one_hot(labels, counts.shape[1]).to(p.dtype))

    def curvature(self, counts: Tensor, directions: Tensor) -> Tensor:
        """``c²·(Σ p·d² − (Σ p·d)²)``, as the variance of d under p, which cannot round below zero."""
        p = (counts.detach() * self.logit_scale).softmax(dim=1)
        centred = directions - (p * directions).sum(dim=1, keepdim=True)
        return self.logit_scale**2 * (p * centred.square()).sum(dim=1)

    def root(self, counts: Tensor, directions: Tensor) -> Tensor:
        """``A·ξ = c·(√p∘ξ − p·(√p·ξ))``."""
        p = (counts.detach() * self.logit_scale).softmax(dim=1)
        spread = p.sqrt() * directions
        return self.logit_scale * (spread - p * spread.sum(dim=1, keepdim=True))

    def saturated(self, counts: Tensor) -> bool:
        """Mean of ``1 − Σp²`` below 1e-4: the network is as good as certain everywhere."""
        p = (counts.detach() * self.logit_scale).softmax(dim=1)
        return bool((1 - p.square().sum(dim=1)).mean() < SATURATED)


@dataclass(frozen=True)
class MseCounts:
    """``ℓ = ½·‖c·z − onehot(y)‖²`` with c the logit scale: the right output is asked for 1/c spikes, the rest for none.

    ``∂²ℓ/∂z² = c²·I`` and ``A = c·I``.

    Example:
        >>> MseCounts(logit_scale=0.1).values(torch.tensor([[10.0, 0.0]]), torch.tensor([0])).item()
        0.0
    """

    logit_scale: float = 1.0

    def values(self, counts: Tensor, labels: Tensor) -> Tensor:
        """ℓ per sample."""
        wanted = F.one_hot(labels, counts.shape[1]).to(counts.dtype)
        return 0.5 * (counts * self.logit_scale - wanted).square().sum(dim=1)

    def slope(self, counts: Tensor, labels: Tensor) -> Tensor:
        """``c·(c·z − onehot(y))``."""
        wanted = F.one_hot(labels, counts.shape[1]).to(counts.dtype)
        return self.logit_scale * (counts.detach() * self.logit_scale - wanted)

    def curvature(self, counts: Tensor, directions: Tensor) -> Tensor:
        """``c²·‖d‖²``."""
        return self.logit_scale**2 * directions.square().sum(dim=1)

    def root(self, counts: Tensor, directions: Tensor) -> Tensor:
        """``A·ξ = c·ξ``."""
        return self.logit_scale * directions

    def saturated(self, counts: Tensor) -> bool:
        """Never: its curvature is constant."""
        return False


OUTPUT_LOSSES: dict[str, Callable[[float], OutputLoss]] = {"cross_entropy": CrossEntropy, "mse_counts": MseCounts}


EIGHT_SIGNS = ((torch.arange(256).unsqueeze(1) >> torch.arange(8)) & 1) * 2 - 1  # [byte, bit]


def rademacher(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    """Independent signs ±1, drawn on the CPU so that every device sees the same ones.

    Example:
        >>> rademacher((3,), torch.zeros(1), torch.Generator().manual_seed(0)).abs().tolist()
        [1.0, 1.0, 1.0]
    """
    count = prod(shape)
    rows = torch.randint(0, 256, (-(-count // 8),), generator=generator, dtype=torch.uint8)  # eight signs a byte
    signs = EIGHT_SIGNS.to(like.dtype).index_select(0, rows.to(torch.int32)).flatten()[:count]
    return signs.reshape(shape).to(like.device)
