"""Labels for samples that came without: the float network's own predictions."""

from __future__ import annotations

from dataclasses import replace

import torch

from engine.data.batches import Dataset, Split
from engine.network.measure import measure
from engine.network.model import Network
from engine.network.prepare import prepare


def with_own_labels(network: Network, data: Dataset, device: str | torch.device = "cpu") -> Dataset:
    """The dataset with the class that the network gives each unlabelled training and validation sample.

    Calibration and distillation ask whether a quantized network does what the float one does, which needs no other
    truth. Ties: lowest class. Splits that have labels are returned as they are.

    Args:
        network: the float network.
        data: with a training split.
        device: where the network runs.
    """
    prepared = prepare(network, device=device)

    def labelled(split: Split | None) -> Split | None:
        if split is None or split.labelled:
            return split
        return Split(split.x, measure(prepared, split).counts.argmax(1))

    return replace(data, train=labelled(data.train), val=labelled(data.val), own_labels=True)
