"""Learning rates by where the training starts, and kind and size of network (docs/adr/0009-start-by-membranes.md)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from engine.network.model import Network

CLOSE = 5e-4  # the start does nearly what the float network does already
SMALL = 2e-3
LARGE_OR_CONVOLUTIONAL = 1e-3
LARGE = 50_000  # weights


def default_rate(network: Network, start: Literal["second_order", "mse"], plain: Collection[str] = ()) -> float:
    """Peak rate: 5e-4 after a second-order start; else small 2e-3, convolutional or over 50,000 weights 1e-3.

    Args:
        network: what is trained.
        start: as the step says.
        plain: layers that the second-order start left as they were; where they hold most weights, it was none.
    """
    sizes = {c.name: c.weight.size for c in network.weighted if c.weight is not None}
    weights = sum(sizes.values())
    if start == "second_order" and 2 * sum(size for name, size in sizes.items() if name in plain) <= weights:
        return CLOSE
    if weights > LARGE or any(c.kind in ("conv1d", "conv2d") for c in network.connections):
        return LARGE_OR_CONVOLUTIONAL
    return SMALL
