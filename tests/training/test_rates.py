"""The peak rate by where training starts, and by size and kind of network."""

from __future__ import annotations

from engine.training.rates import CLOSE, LARGE_OR_CONVOLUTIONAL, SMALL, default_rate
from tests.program.networks import convolutional, recurrent


def test_rates_by_start_and_kind() -> None:
    assert default_rate(recurrent(), "second_order") == CLOSE
    assert default_rate(recurrent(), "mse") == SMALL
    assert default_rate(convolutional(), "mse") == LARGE_OR_CONVOLUTIONAL


def test_a_second_order_start_that_was_none_for_most_weights() -> None:
    network = recurrent()
    sizes = {c.name: c.weight.size for c in network.weighted if c.weight is not None}
    largest, smallest = max(sizes, key=lambda n: sizes[n]), min(sizes, key=lambda n: sizes[n])
    assert 2 * sizes[smallest] <= sum(sizes.values())
    assert default_rate(network, "second_order", (smallest,)) == CLOSE
    assert default_rate(network, "second_order", tuple(sizes)) == SMALL
    assert default_rate(network, "mse", (largest,)) == SMALL
