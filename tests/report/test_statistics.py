"""Intervals at their edges."""

from __future__ import annotations

import pytest

from engine.report.statistics import accuracy_of


@pytest.mark.parametrize("samples", [*range(1, 200), 450, 10_000])
def test_an_accuracy_lies_in_its_interval(samples: int) -> None:
    """At 0 and 1 it is an end of it, and rounding must not put it outside (figures draw the distances)."""
    for correct in {0, 1, samples // 2, samples - 1, samples}:
        found = accuracy_of(correct, samples)
        assert 0 <= found.interval.low <= found.value <= found.interval.high <= 1
    assert accuracy_of(samples, samples).interval.high == 1
    assert accuracy_of(0, samples).interval.low == 0
