"""What is read from the output layer over all steps."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.kernels.neuron_scan import ScanResult
from engine.specs.dynamics import Readout


def read_out(readout: Readout, result: ScanResult, dtype: torch.dtype | None = None) -> Tensor:
    """The output of a layer over all steps, ``[batch, neuron...]``; sums are taken in ``dtype`` (None: the state's)."""
    if readout == "spike_count":
        return result.spikes.sum(0, dtype=dtype)
    if result.membrane is None:
        raise ValueError(f"readout {readout} needs the membrane, which was not kept")
    if readout == "membrane_sum":
        return result.membrane.sum(0, dtype=dtype)
    kept = result.membrane.amax(0) if readout == "membrane_max" else result.membrane[-1]
    return kept if dtype is None else kept.to(dtype)
