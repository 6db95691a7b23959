"""How many epochs a fine-tune takes where the user does not say."""

from __future__ import annotations

from math import prod

from engine.network.model import Network
from engine.specs.steps import EPOCHS

LEAST_EPOCHS = 2  # a second-order start lies close: dear networks have settled after two
DENSE_PRODUCTS = 6e10  # of a whole fine-tune's forward passes; about two minutes of one core


def default_epochs(network: Network, samples: int, steps: int) -> int:
    """30 epochs, or as many as come to ``DENSE_PRODUCTS``, never fewer than ``LEAST_EPOCHS``.

    A product is one weight at one place in one time step of one sample, whether or not a spike is there: the count
    depends on shapes alone, so that the same job has the same schedule on every machine.

    Args:
        network: what is trained.
        samples: training samples of an epoch.
        steps: time steps of a sample.
    """
    at_once = sum(
        prod(c.weight.shape[1:]) * prod(network.layer(c.target).shape) for c in network.weighted if c.weight is not None
    )
    products = samples * steps * int(at_once)
    return min(EPOCHS, max(LEAST_EPOCHS, round(DENSE_PRODUCTS / max(products, 1))))
