"""The choice among programs against its definition, by brute force."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.allocate.choice import Outcome, dominated, smallest_within

outcomes = st.lists(
    st.builds(Outcome, st.integers(1, 5), st.integers(0, 20), st.integers(0, 4).map(float)), min_size=1, max_size=8
)


@given(outcomes)
def test_the_front_is_what_nothing_beats(found: list[Outcome]) -> None:
    flags = dominated(found)
    assert not all(flags)
    for one, flag in zip(found, flags, strict=True):
        beats = [
            o
            for o in found
            if o.bytes <= one.bytes and o.correct >= one.correct and o.operations <= one.operations and o != one
        ]
        assert flag == bool(beats)


@given(outcomes, st.integers(0, 20), st.floats(0, 30))
def test_the_chosen_one_is_the_smallest_that_keeps_the_bound(found: list[Outcome], right: int, points: float) -> None:
    chosen, kept = smallest_within(found, right, 20, points)
    keeping = [one for one in found if 100 * (right - one.correct) / 20 <= points + 1e-9]
    assert kept == bool(keeping)
    if keeping:
        assert found[chosen] in keeping
        assert found[chosen].bytes == min(one.bytes for one in keeping)
    else:
        assert found[chosen].correct == max(one.correct for one in found)


def test_nothing_finished_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one finished program"):
        smallest_within([], 1, 1, 1.0)
