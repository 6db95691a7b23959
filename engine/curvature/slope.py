"""The surrogate's slope for a network: the one whose predicted loss is the measured one on a few roundings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from engine.curvature.blocks import Blocks
from engine.curvature.linear_network import LinearNetwork
from engine.curvature.measured_cost import measured_costs
from engine.curvature.objective import Objective
from engine.curvature.quadratic import along
from engine.curvature.ranking import stands_clear
from engine.curvature.rounding_cost import rounded
from engine.kernels.linear_neurons import linearise_neurons
from engine.kernels.step import SpikeGradient
from engine.quantizers.form import Granularity
from engine.specs.planned import SlopeCheck

# π is snnTorch's arctan; networks with a long memory want about 4, where a third more predicts a tenth of the loss.
SLOPES = (2.0, 2.5, math.pi, 4.0, 5.0, 6.0, 8.0, 12.0)
USUAL = 6.0
BITS = (3, 2)  # the second where the first cannot be told from noise
LAYERS = 3
SAMPLES = 128


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
    predicted = {slope: [0.0] * len(pairs) for slope in SLOPES}
    for block in Blocks(few, dtype):
        for slope in SLOPES:
            network = with_slope(block.network, slope)
            for k, pair in enumerate(pairs):
                found = along(network, block.loss, block.labels, {pair.layer: pair.change}, None)
                predicted[slope][k] += float((found.slope + 0.5 * found.gauss_newton).double().sum()) / few.samples
    checks = tuple(_check(slope, pairs, predicted[slope]) for slope in SLOPES)
    return min(checks, key=lambda check: check.log_error).slope, checks


def with_slope(network: LinearNetwork, slope: float) -> LinearNetwork:
    """The same trajectories, which no surrogate changes, linearised with another slope."""
    gradient = SpikeGradient(slope, network.gradient.through_reset)
    stages = tuple(
        replace(stage, neurons=linearise_neurons(stage.rule, stage.path, gradient)) for stage in network.stages
    )
    return replace(network, stages=stages, gradient=gradient)


def _check(slope: float, pairs: Sequence[Pair], predicted: Sequence[float]) -> SlopeCheck:
    ratios = [max(p / pair.measured, 1e-3) for p, pair in zip(predicted, pairs, strict=True)]
    return SlopeCheck(
        slope=slope,
        layers=tuple(pair.layer for pair in pairs),
        bits=tuple(pair.bits for pair in pairs),
        predicted=tuple(predicted),
        measured=tuple(pair.measured for pair in pairs),
        log_error=sum(abs(math.log(ratio)) for ratio in ratios) / len(ratios),
    )


def _pairs(objective: Objective, granularity: Granularity) -> list[Pair]:
    weights = objective.weights(requires_grad=False)
    names = list(weights)
    largest = max(names, key=lambda name: weights[name].numel())
    chosen = list(dict.fromkeys([names[0], largest, names[-1]] if len(names) > LAYERS else names))
    found: dict[str, Pair] = {}
    for bits in BITS:
        narrow = {(name, bits): rounded(weights[name], bits, granularity) for name in chosen if name not in found}
        for (name, _), cost in measured_costs(objective, narrow).items():
            if stands_clear(cost.increase, cost.error):
                found[name] = Pair(name, bits, narrow[name, bits] - weights[name], cost.increase)
    return [found[name] for name in chosen if name in found]
