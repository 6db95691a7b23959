"""The most memory that this process has held."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")


def peak_bytes(device: str = "cpu") -> int:
    """Peak resident memory of the process since it began; on a GPU the peak that torch allocated there.

    Linux is asked for its own record of the process: what ``getrusage`` tells survives ``exec``, so that a child would
    report what its parent held when it was started.

    Example:
        >>> peak_bytes() > 2**20
        True
    """
    if torch.device(device).type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
