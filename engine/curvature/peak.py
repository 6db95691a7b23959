"""The most memory that this process has held."""

from __future__ import annotations

import resource
import sys

import torch


def peak_bytes(device: str = "cpu") -> int:
    """Peak resident memory of the process since it began; on a GPU the peak that torch allocated there.

    Example:
        >>> peak_bytes() > 2**20
        True
    """
    if torch.device(device).type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
