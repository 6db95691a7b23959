"""The surrogate's slope for a network: the one whose predicted loss is the measured one on a few roundings."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from engine.curvature.blocks import Blocks
from engine.curvature.objective import Objective
from engine.curvature.quadratic import along
from engine.curvature.rounding_cost import measured_increase, rounded
from engine.quantizers.form import Granularity
from engine.specs.report import SlopeCheck
from engine.specs.steps import Surrogate

SLOPES = (2.0, math.pi, 6.0, 12.0)  # π is snnTorch's arctan; long-memory recurrent networks want about 6 (QUALITY 2)
USUAL = 6.0
BITS = (3, 2)  # the second where the first cannot be told from noise
LAYERS = 3
SAMPLES = 128
CLEAR = 2.0  # standard errors above zero from which a measured increase counts


@dataclass(frozen=True)
class Pair:
    """One rounding: which layer, its change, what it was measured to cost."""

    layer: str
    bits: int
    change: torch.Tensor
    measured: float


def choose_slope(
    objective: Objective, granularity: Granularity, dtype: torch.dtype
) -> tuple[float, tuple[SlopeCheck, ...]]:
    """Compare ``gᵀδW + ½·δWᵀGδW`` with the measured increase for every candidate.

    Source: QUALITY finding 2. The pairs are the first, the largest and the last layer at 3 bits, or 2 where 3 cost
    no more than their own noise; the samples are the first 128. The slope with the least mean ``|log(predicted /
    measured)|`` wins (a prediction that is not positive counts as 1000 times too small).

    Args:
        objective: its surrogate is replaced.
        granularity: of the roundings.
        dtype: of the derivatives.

    Returns:
        (slope, what every candidate predicted). Where no rounding stands clear of its noise, the usual slope and no
        checks.
    """
    few = replace(objective, x=objective.x[:SAMPLES], y=objective.y[:SAMPLES])
    pairs = _pairs(few, granularity)
    if not pairs:
        return USUAL, ()
    checks = []
    for slope in SLOPES:
        predicted = [0.0] * len(pairs)
        for block in Blocks(replace(few, surrogate=Surrogate(slope=slope)), dtype):
            for k, pair in enumerate(pairs):
                found = along(block.network, block.loss, block.labels, {pair.layer: pair.change}, None)
                predicted[k] += float((found.slope + 0.5 * found.gauss_newton).double().sum()) / few.samples
        ratios = [max(p / pair.measured, 1e-3) for p, pair in zip(predicted, pairs, strict=True)]
        checks.append(
            SlopeCheck(
                slope=slope,
                layers=tuple(pair.layer for pair in pairs),
                bits=tuple(pair.bits for pair in pairs),
                predicted=tuple(predicted),
                measured=tuple(pair.measured for pair in pairs),
                log_error=sum(abs(math.log(ratio)) for ratio in ratios) / len(ratios),
            )
        )
    return min(checks, key=lambda check: check.log_error).slope, tuple(checks)


def _pairs(objective: Objective, granularity: Granularity) -> list[Pair]:
    weights = objective.weights(requires_grad=False)
    names = list(weights)
    largest = max(names, key=lambda name: weights[name].numel())
    chosen = list(dict.fromkeys([names[0], largest, names[-1]] if len(names) > LAYERS else names))
    baseline = objective.losses()
    pairs = []
    for name in chosen:
        for bits in BITS:
            narrow = rounded(weights[name], bits, granularity)
            measured, error = measured_increase(objective, name, narrow, baseline)
            if measured > CLEAR * (error or 0.0) and measured > 0:
                pairs.append(Pair(name, bits, narrow - weights[name], measured))
                break
    return pairs
