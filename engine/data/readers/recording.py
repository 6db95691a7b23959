"""What every decoder of a recording returns, and the checks that they share."""

from __future__ import annotations

from dataclasses import dataclass

from engine.data.events import Integers
from engine.errors import InvalidDataset


@dataclass(frozen=True, eq=False)
class Recording:
    """Events ``[event]`` of one recording, as the file has them; ``sensor`` (rows, columns) where it says so."""

    t_us: Integers
    row: Integers
    column: Integers
    polarity: Integers
    sensor: tuple[int, int] | None


def truncated(name: str, expected: str, found: str) -> InvalidDataset:
    """The refusal of a recording that ends within an event."""
    return InvalidDataset("truncated_recording", f"recording {name!r}: expected {expected}, found {found}", name)


def not_a_recording(name: str, expected: str, found: str) -> InvalidDataset:
    """The refusal of a recording whose header or words are not the format's."""
    return InvalidDataset("invalid_recording", f"recording {name!r}: expected {expected}, found {found}", name)
