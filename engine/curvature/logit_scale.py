"""The factor from readout to logits at which roundings can be predicted and measured."""

from __future__ import annotations

from torch import Tensor

MARGIN = 4.0  # nats between the label and the runner-up of the median sample: p = 0.98 between the two


def margin_scale(counts: Tensor, labels: Tensor) -> float:
    """``4 / median |margin|``: the median sample is right by four nats.

    The margin of a sample is the readout of its label minus the highest other. At the scale that minimises the
    cross-entropy, a network that fits its training samples has probabilities of 0 and 1: the loss bends nowhere, the
    measured increase hangs on the few samples that flip, and neither ranks layers. Softer, every sample tells. The
    rule was picked on networks of ``benchmarks/networks.py``, those that ``make bench NAME=prediction`` reports.

    Args:
        counts: the float network's readout on training samples ``[sample, outputs]``, two outputs or more.
        labels: ``[sample]``.

    Returns:
        The factor; 1 where the median margin is 0, since nothing there can be scaled.

    Example:
        >>> import torch
        >>> margin_scale(torch.tensor([[9.0, 1.0], [2.0, 10.0]]), torch.tensor([0, 1]))
        0.5
    """
    own = counts.gather(1, labels[:, None]).squeeze(1)
    others = counts.scatter(1, labels[:, None], float("-inf")).amax(1)
    middle = float((own - others).abs().median())
    return MARGIN / middle if 0 < middle < float("inf") else 1.0
