"""Events of an engine run inside a benchmark."""

from __future__ import annotations

from pathlib import Path


class Quiet:
    """Events that nobody listens to: a benchmark is not resumed inside a run."""

    def progress(self, stage: str, done: int, total: int, message: str = "", **metrics: float) -> None:
        """Ignored."""

    def checkpoint(self, path: Path) -> None:
        """Ignored."""

    def log(self, message: str) -> None:
        """Ignored."""
