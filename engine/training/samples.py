"""Training samples as tensors: whole on the device, or read from the disk batch by batch where they are too many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.data.rows import Rows


@dataclass(frozen=True, eq=False)
class StreamedSamples:
    """Samples ``[sample, time, ...]`` that are read when they are indexed."""

    rows: Rows
    device: torch.device

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: slice | Tensor) -> Tensor:
        """A slice, or the samples of a tensor of numbers, as a tensor on the device."""
        index = key if isinstance(key, slice) else key.cpu().numpy()
        return torch.as_tensor(self.rows[index], device=self.device)


Samples = Tensor | StreamedSamples


def samples_on(x: NDArray[Any] | Rows, device: torch.device) -> Samples:
    """Samples for training; what is on disk stays there.

    Example:
        >>> samples_on(np.zeros((2, 3), np.uint8), torch.device("cpu")).shape
        torch.Size([2, 3])
    """
    if isinstance(x, Rows):
        return StreamedSamples(x, device)
    return torch.as_tensor(np.ascontiguousarray(x), device=device)
