"""Fixtures of the worker's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.worker.harness import Bench


@pytest.fixture
def database_url() -> str:
    """Empty: SQLite in the data folder; some modules run on PostgreSQL too."""
    return ""


@pytest.fixture
def make_bench(tmp_path: Path, database_url: str) -> Iterator[Callable[..., Bench]]:
    """Benches on one data folder, with settings of one's own."""
    made: list[Bench] = []

    def make(**settings: Any) -> Bench:
        made.append(Bench(tmp_path / "data", database_url=database_url, **settings))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    """A bench with quick settings."""
    return make_bench()
