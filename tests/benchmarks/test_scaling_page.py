"""docs/scaling.md shows what the committed results hold."""

from __future__ import annotations

import pytest

from benchmarks.frame import RESULTS
from benchmarks.scaling_page import BENCHMARKS, PAGE, filled


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_results_are_committed(name: str) -> None:
    assert (RESULTS / f"{name}.json").exists(), f"make bench NAME={name}, then python -m benchmarks.scaling_page"


def test_the_page_shows_them() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page) == page, "python -m benchmarks.scaling_page writes the tables"


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="expected the markers of scaling"):
        filled("nothing\n")
