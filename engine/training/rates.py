"""Learning rates by kind and size of network (docs/adr/0007-plans-before-fine-tuning.md)."""

from __future__ import annotations

from engine.network.model import Network

SMALL = 2e-3
LARGE_OR_CONVOLUTIONAL = 1e-3
LARGE = 50_000  # weights


def default_rate(network: Network) -> float:
    """Peak learning rate: small 2e-3, convolutional or more than 50,000 weights 1e-3."""
    weights = sum(c.weight.size for c in network.weighted if c.weight is not None)
    if weights > LARGE or any(c.kind == "conv2d" for c in network.connections):
        return LARGE_OR_CONVOLUTIONAL
    return SMALL
