"""Epochs by default: thirty, or as many as a budget of products allows."""

from __future__ import annotations

import pytest

from engine.training.budget import DENSE_PRODUCTS, LEAST_EPOCHS, default_epochs
from tests.program.networks import convolutional, recurrent


def test_a_small_network_takes_the_whole_schedule() -> None:
    assert default_epochs(recurrent(), 1000, 100) == 30


def test_a_dear_one_takes_what_the_budget_allows() -> None:
    network = convolutional()
    products = sum(c.weight[0].size * network.layer(c.target).decay_v.size for c in network.weighted)
    steps = 100
    samples = round(DENSE_PRODUCTS / (12 * products * steps))
    assert default_epochs(network, samples, steps) == 12
    assert default_epochs(network, 100 * samples, steps) == LEAST_EPOCHS


@pytest.mark.parametrize("samples", [1, 10**9])
def test_the_ends(samples: int) -> None:
    assert LEAST_EPOCHS <= default_epochs(recurrent(), samples, 10) <= 30
