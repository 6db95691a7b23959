"""Blocks of samples, linearised: what all estimators work on, one block in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from engine.curvature.linear_network import LinearNetwork, linearise
from engine.curvature.norms import SampleNorms
from engine.curvature.objective import GRADIENT_BLOCK, Objective
from engine.curvature.output_losses import OutputLoss
from engine.curvature.quadratic import Bending, bending


@dataclass(frozen=True)
class Block:
    """Some samples: the network linearised along them, and what is made from it when first asked for."""

    index: int
    network: LinearNetwork
    labels: Tensor
    loss: OutputLoss

    @cached_property
    def norms(self) -> SampleNorms:
        """Gram matrices and patches."""
        return SampleNorms(self.network)

    @cached_property
    def bent(self) -> Bending:
        """Second derivatives, weighed by the loss's adjoints."""
        return bending(self.network, self.loss, self.labels)


class Blocks:
    """The samples of an objective in blocks; a single block is linearised once and kept."""

    def __init__(self, objective: Objective, dtype: torch.dtype = torch.float64) -> None:
        self.objective, self.dtype = objective, dtype
        self.names = tuple(c.name for c in objective.network.weighted)
        self.channels = tuple(len(c.weight) for c in objective.network.weighted if c.weight is not None)
        self._only: Block | None = None

    def __iter__(self) -> Iterator[Block]:
        if self._only is not None:
            yield self._only
            return
        for index, (x, labels) in enumerate(self.objective.blocks(GRADIENT_BLOCK)):
            network = linearise(self.objective, x, dtype=self.dtype)
            block = Block(index, network, labels, self.objective.loss)
            if len(labels) == self.objective.samples:
                self._only = block
            yield block
