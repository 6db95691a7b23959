"""What sensitivity is about: a network, training samples and a loss, run block by block to bound memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.curvature.output_losses import OutputLoss
from engine.network.model import Network
from engine.network.prepare import prepare
from engine.network.simulate import run
from engine.specs.steps import Surrogate

BLOCK_BYTES = 256 * 2**20  # of currents, membranes, spikes and surrogates that one block keeps for its backward pass
KEPT_PER_NEURON = 6  # values per neuron and step: current, u, spikes, surrogate, and the gradients of two
GRADIENT_BLOCK = 128  # samples: fastest per sample on two Braille networks; most noise is within samples anyway
VALUE_BLOCK = 256


@dataclass(frozen=True)
class Objective:
    """``L(W) = 1/S · Σ_b ℓ(z_b(W), y_b)`` over S training samples.

    Args:
        network: the float network.
        x: frames ``[sample, time, *input_shape]``, any numeric dtype.
        y: labels ``[sample]``, integers from 0.
        loss: ℓ with the root of its Hessian.
        surrogate: derivative of a spike.
        reset_gradient: ``through`` or ``detached``.
        device: where it runs.
        dtype: that it runs in; float64 reproduces frameworks spike for spike.
    """

    network: Network
    x: NDArray[np.generic]
    y: NDArray[np.integer]
    loss: OutputLoss
    surrogate: Surrogate
    reset_gradient: str = "through"
    device: str = "cpu"
    dtype: torch.dtype = torch.float64

    @property
    def samples(self) -> int:
        """S."""
        return len(self.y)

    @property
    def labels(self) -> Tensor:
        """``[sample]`` int64 on the CPU."""
        return torch.as_tensor(self.y.astype(np.int64))

    def weights(self, *, requires_grad: bool) -> dict[str, Tensor]:
        """Copies of every connection's weight, ``[out, in, ...]`` float64, by name in the network's order."""
        return {
            c.name: torch.tensor(c.weight, dtype=torch.float64, device=self.device, requires_grad=requires_grad)
            for c in self.network.weighted
        }

    def blocks(self, most: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Consecutive samples: input ``[time, block, *input_shape]`` and labels ``[block]``."""
        for rows in self._rows(most):
            frames = np.moveaxis(self.x[rows], 0, 1)  # [time, block, ...]
            labels = self.labels[rows].to(self.device)
            yield torch.tensor(frames, dtype=self.dtype, device=self.device), labels

    def frames(self, most: int) -> Iterator[Tensor]:
        """The same blocks' input as the dataset holds it: whole numbers have quicker and no less exact products."""
        for rows in self._rows(most):
            yield torch.tensor(np.moveaxis(self.x[rows], 0, 1), device=self.device)

    def counts(self, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """Outputs ``[sample, output]`` on the CPU, with some weights replaced by name."""
        prepared = prepare(self.network, device=self.device, dtype=self.dtype, weights=weights)
        with torch.no_grad():
            return torch.cat([run(prepared, x).counts.cpu() for x in self.frames(VALUE_BLOCK)])

    def losses(self, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """ℓ per sample ``[sample]`` on the CPU, with some weights replaced by name."""
        return self.loss.values(self.counts(weights), self.labels)

    def _rows(self, most: int) -> Iterator[slice]:
        neurons = sum(prod(layer.shape) for layer in self.network.layers)
        values = self.x.shape[1] * (prod(self.x.shape[2:]) + KEPT_PER_NEURON * neurons)
        size = max(1, min(most, BLOCK_BYTES // (self.dtype.itemsize * values)))
        return (slice(start, start + size) for start in range(0, self.samples, size))
