"""What rounding one layer costs, measured by doing it: loss and accuracy on the samples.

A layer's rounding changes nothing before it. Every block of samples runs once as it is, and the spikes of the layers
that a rounding cannot reach are taken from that run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.curvature.objective import VALUE_BLOCK, Objective
from engine.network.model import Network
from engine.network.prepare import prepare
from engine.network.simulate import run

Key = tuple[str, int]  # layer, bits


@dataclass(frozen=True)
class Cost:
    """One layer's rounding, measured.

    ``increase`` of the mean loss in nats; ``accuracy``, the share of samples right with the layer rounded; both with
    the standard error over samples of the paired change (None: one sample has none).
    """

    increase: float
    error: float | None
    accuracy: float
    accuracy_error: float | None


def measured_costs(
    objective: Objective, narrow: Mapping[Key, Tensor], told: Callable[[int], None] = lambda samples: None
) -> dict[Key, Cost]:
    """Loss and accuracy with one layer's weight replaced at a time.

    Args:
        objective: network, samples, loss.
        narrow: (layer, bits) → the weight that takes the layer's place ``[out, in, ...]``.
        told: called with the number of samples that are done; may raise to stop.

    Returns:
        The cost of every entry; errors are those of paired differences, sample by sample.
    """
    if not narrow:
        return {}
    plain = prepare(objective.network, device=objective.device, dtype=objective.dtype)
    unreached = {name: _unreached(objective.network, name) for name, _ in narrow}
    before: list[Tensor] = []
    after: dict[Key, list[Tensor]] = {key: [] for key in narrow}
    with torch.no_grad():
        for x in objective.frames(VALUE_BLOCK):
            trace = run(plain, x, record="*")
            before.append(trace.counts.cpu())
            for (name, bits), weight in narrow.items():
                rounded = prepare(
                    objective.network, device=objective.device, dtype=objective.dtype, weights={name: weight}
                )
                known = {layer: trace.spikes[layer] for layer in unreached[name]}
                after[name, bits].append(run(rounded, x, known=known).counts.cpu())
            told(sum(map(len, before)))
    return {key: _cost(objective, torch.cat(before), torch.cat(parts)) for key, parts in after.items()}


def mean_and_error(values: Tensor) -> tuple[float, float | None]:
    """Mean over samples and its standard error; None where there is one sample only.

    Example:
        >>> mean_and_error(torch.tensor([1.0, 1.0, 4.0, 4.0, 0.0]))[0]
        2.0
    """
    if len(values) < 2:
        return float(values.mean()), None
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))


def _cost(objective: Objective, before: Tensor, after: Tensor) -> Cost:
    labels = objective.labels
    increase, error = mean_and_error(objective.loss.values(after, labels) - objective.loss.values(before, labels))
    right = (after.argmax(1) == labels).double()
    _, accuracy_error = mean_and_error(right - (before.argmax(1) == labels).double())
    return Cost(increase, error, float(right.mean()), accuracy_error)


def _unreached(network: Network, connection: str) -> tuple[str, ...]:
    """Layers whose spikes do not depend on a connection's weight."""
    reached = {c.target for c in network.connections if c.name == connection}
    for _ in network.layers:
        reached |= {c.target for c in network.connections if c.source in reached}
    return tuple(layer.name for layer in network.layers if layer.name not in reached)
