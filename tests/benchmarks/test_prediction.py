"""Rows of the prediction benchmark from pairs whose answer is known."""

from __future__ import annotations

from benchmarks.frame import Absent, Measured, collect
from benchmarks.prediction import MEDIAN, ROWS, WITHIN, Pair, correlate, summarise


def pair(layer: str, bits: int, predicted: float, measured: float, error: float = 0.01, size: float = 1.0) -> Pair:
    return Pair(layer, bits, predicted, -predicted, measured, error, size)


# The prediction ranks as the measurement does, the size of the rounding in reverse; one 3-bit pair is far off.
TABLE = [
    pair("a", 4, 0.1, 0.2, size=9.0),
    pair("b", 4, 0.2, 0.3, size=8.0),
    pair("a", 3, 0.3, 4.0, size=7.0),
    pair("b", 3, 0.9, 5.0, size=6.0),
    pair("a", 2, 2.0, 6.0, size=5.0),
    pair("b", 2, 3.0, 7.0, size=4.0),
]


def test_both_correlations() -> None:
    assert correlate(TABLE) == (1.0, -1.0)
    assert correlate(TABLE[:2]) == (None, None)


def test_a_pair_below_its_own_error_is_left_out_and_counted() -> None:
    noise = [pair("c", 3, 0.9, 0.001, error=0.5), pair("d", 3, 0.9, -0.2)]
    found = {finding.name: finding for finding in summarise({"digits": [*TABLE, *noise]}, {})}
    left_out, within = found["left_out_of_10x"], found[WITHIN]
    assert isinstance(left_out, Measured)
    assert isinstance(within, Measured)
    assert left_out.value == 2
    assert within.value == 0.5  # 0.3 is more than ten times below 4.0, 0.9 not of 5.0


def test_the_median_is_over_networks_and_a_single_pair_is_not_ranked() -> None:
    worse = [pair(p.layer, p.bits, 5 - p.predicted, p.measured, size=p.squared_distance) for p in TABLE]
    tables = {"digits": TABLE, "rates_norse": worse, "motion_sinabs": TABLE[:1]}
    found = {finding.name: finding for finding in summarise(tables, {})}
    median = found[MEDIAN]
    assert isinstance(median, Measured)
    assert median.value == 0.0
    assert median.spread == (-1.0, 1.0)
    by_trace = found["digits.trace_rank"]
    assert isinstance(by_trace, Measured)
    assert by_trace.value == -1.0
    assert isinstance(found["motion_sinabs.rank"], Absent)


def test_every_finding_was_declared() -> None:
    rows = collect(ROWS, summarise({"digits": TABLE}, {}))
    assert rows["digits.rank"]["value"] == 1.0
    assert rows[MEDIAN]["ok"]
    assert rows["networks_above_trivial"]["value"] == 1.0
