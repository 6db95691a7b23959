"""The counting rows of the simulation benchmark name every fixture and every row of the reference table."""

from __future__ import annotations

from benchmarks.simulation_fixtures import REFERENCE, ROWS
from tests.fixtures.load import NAMES


def test_every_fixture_and_reference_row_is_declared() -> None:
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names))
    assert {f"fixture.{name}.differing_spikes" for name in NAMES} <= set(names)
    assert {f"reference.{name}.off_by" for name, *_ in REFERENCE} <= set(names)
    assert all(row.must is not None for row in ROWS)
