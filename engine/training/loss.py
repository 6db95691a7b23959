"""The loss of fine-tuning: cross-entropy on the readout, mixed with distillation from the float network."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SCALES = 2.0 ** torch.arange(-8, 5, 0.25, dtype=torch.float64)  # candidates of choose_logit_scale


def finetune_loss(counts: Tensor, labels: Tensor, teacher: Tensor | None, scale: float, share: float) -> Tensor:
    """``(1−share)·CE(scale·counts, labels) + share·KL(teacher ‖ student)``, a mean over the batch in nats.

    Source: Hinton et al. 2015, arXiv:1503.02531, at temperature 1 on scaled counts; the mixture of QUALITY finding 8.

    Args:
        counts: readout of the network in training ``[batch, outputs]``.
        labels: class indices ``[batch]``.
        teacher: readout of the float network ``[batch, outputs]``; None leaves the KL out.
        scale: factor from counts to logits.
        share: weight of the KL, 0 to 1.

    Example:
        >>> counts = torch.tensor([[2.0, 0.0]])
        >>> round(finetune_loss(counts, torch.tensor([0]), counts, 1.0, 0.5).item(), 4)
        0.0635
    """
    log_p = F.log_softmax(scale * counts, dim=1)
    hard = F.nll_loss(log_p, labels)
    if teacher is None or share == 0.0:
        return hard
    target = F.log_softmax(scale * teacher.to(counts.dtype), dim=1)
    return (1.0 - share) * hard + share * F.kl_div(log_p, target, reduction="batchmean", log_target=True)


def choose_logit_scale(counts: Tensor, labels: Tensor) -> float:
    """The factor from counts to logits that minimises cross-entropy on training samples (temperature scaling).

    Source: Guo et al. 2017, arXiv:1706.04599, on a fixed grid of quarter octaves so that the result is reproducible.

    Args:
        counts: the float network's readout on training samples ``[sample, outputs]``.
        labels: ``[sample]``.
    """
    losses = [F.cross_entropy(float(s) * counts.double(), labels).item() for s in SCALES]
    best = min(range(len(losses)), key=lambda k: losses[k] if math.isfinite(losses[k]) else math.inf)
    return float(SCALES[best])
