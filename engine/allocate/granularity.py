"""One scale a layer or one a channel, where a byte budget makes them compete with bits for the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from math import inf
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from engine.errors import InvalidSpec
from engine.network.model import Network
from engine.quantizers.registry import quantizer
from engine.specs.planned import AllocateSection

Granularity = Literal["layer", "channel"]
Granularities = Mapping[str, Granularity]  # weight layer → its scales
EXHAUSTIVE = 4  # neuron layers up to which all combinations are solved


def choose_granularity(network: Network, solve: Callable[[Granularities], AllocateSection]) -> AllocateSection:
    """The allocation of least predicted loss: neuron layers take one scale where their bytes buy more as bits.

    Scales by channel cost two bytes a neuron and more; where channels are alike they gain nothing. Connections into one
    neuron layer are decided together, since their sum has one scale. Up to ``EXHAUSTIVE`` neuron layers all
    combinations are solved; beyond, one layer after the other changes as long as that lowers the loss, from all by
    channel and from all by layer.

    Args:
        network: whose neuron layers are decided.
        solve: the exact allocation for given granularities; ``budget_infeasible`` where nothing fits.

    Raises:
        InvalidSpec: ``budget_infeasible`` where no combination that was tried fits.
    """
    groups = [
        names
        for layer in network.layers
        if (names := [c.name for c in network.into(layer.name) if c.weight is not None])
    ]
    tried: dict[tuple[Granularity, ...], AllocateSection | None] = {}
    problem: InvalidSpec | None = None

    def loss(choice: tuple[Granularity, ...]) -> float:
        nonlocal problem
        if choice not in tried:
            scales = {name: one for names, one in zip(groups, choice, strict=True) for name in names}
            tried[choice], why = _attempt(solve, scales)
            problem = why or problem
        found = tried[choice]
        return inf if found is None else found.predicted_loss or 0.0

    options: tuple[Granularity, ...] = ("channel", "layer")
    if len(groups) <= EXHAUSTIVE:
        for choice in product(options, repeat=len(groups)):
            loss(choice)
    else:
        for one in options:
            _descend((one,) * len(groups), loss)
    best = tried[min(tried, key=loss)]
    if best is None:
        raise problem or InvalidSpec("budget_infeasible", "there is no weight layer", "/program_bytes")
    return best


def _descend(choice: tuple[Granularity, ...], loss: Callable[[tuple[Granularity, ...]], float]) -> None:
    """Change one layer at a time while the loss falls."""
    while True:
        neighbours = [
            (*choice[:k], "layer" if one == "channel" else "channel", *choice[k + 1 :]) for k, one in enumerate(choice)
        ]
        better = min(neighbours, key=loss)
        if loss(better) >= loss(choice):
            return
        choice = better


def _attempt(
    solve: Callable[[Granularities], AllocateSection], granularities: Granularities
) -> tuple[AllocateSection | None, InvalidSpec | None]:
    try:
        return solve(granularities), None
    except InvalidSpec as error:
        if error.code != "budget_infeasible":
            raise
        return None, error


def coarser(
    network: Network,
    layers: Sequence[str],
    widths: Sequence[int],
    method: str,
    granularities: Granularities,
    analysed: Granularity,
) -> NDArray[np.float64]:
    """How much more a layer costs with its granularity than with the one that was analysed, ``[layer, width]``.

    The ratio of ``‖δW‖²`` of the two roundings, which is exact for losses of the form ``½·trace/N·‖δW‖²``.
    """
    weights = {c.name: c.weight for c in network.weighted}
    factors = np.ones((len(layers), len(widths)))
    for row, name in enumerate(layers):
        if granularities[name] == analysed:
            continue
        weight = torch.as_tensor(np.asarray(weights[name], np.float64))
        for column, bits in enumerate(widths):
            own, other = (_squared(weight, bits, method, g) for g in (granularities[name], analysed))
            factors[row, column] = own / other if other > 0 else 1.0
    return factors


def _squared(weight: torch.Tensor, bits: int, method: str, granularity: Granularity) -> float:
    scale = quantizer(method).parameters(weight, bits, granularity)
    return float((quantizer(method).fake_quantize(weight, scale, bits) - weight).square().sum())
