"""Learning rate over the steps of a fine-tune."""

from __future__ import annotations

import math


def learning_rate(step: int, steps: int, warmup: int, peak: float) -> float:
    """Linear warm-up, then cosine to 0 (QUALITY finding 9; Loshchilov & Hutter 2017, arXiv:1608.03983).

    Args:
        step: optimiser step, from 0.
        steps: steps of the whole schedule.
        warmup: steps of the warm-up.
        peak: highest rate.

    Example:
        >>> [round(learning_rate(s, 10, 2, 1.0), 3) for s in (0, 1, 2, 9)]
        [0.5, 1.0, 1.0, 0.038]
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    return 0.5 * peak * (1.0 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))
