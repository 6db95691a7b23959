"""What both renderings say: the report as headed blocks of sentences, figures and tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Row = tuple[str, ...]


@dataclass(frozen=True)
class Figure:
    """A drawing, made only when a rendering asks for it."""

    caption: str
    draw: Callable[[], str]


@dataclass(frozen=True)
class Table:
    """Rows of text under a caption; ``basis`` says how the numbers came about."""

    caption: str
    header: Row
    rows: tuple[Row, ...]
    basis: str = ""
    collapsed: bool = False


@dataclass(frozen=True)
class Block:
    """A section of the page."""

    anchor: str
    title: str
    sentences: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()


def table(
    caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], basis: str = "", *, collapsed: bool = False
) -> Table:
    """A table from any sequences."""
    return Table(caption, tuple(header), tuple(tuple(row) for row in rows), basis, collapsed)


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many significant digits, in plain notation where that is readable; a dash for none.

    Example:
        >>> number(0.000123456), number(None), number(123456.7), number(3e-9, 2)
        ('0.0001235', '–', '123457', '3e−09')
    """
    if value is None:
        return "–"
    text = f"{value:.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.{digits}g}"
    return text.replace("-", "−")


def count(value: int) -> str:
    """A whole number with thousands apart."""
    return f"{value:,}".replace(",", "\u202f")  # a narrow no-break space


def percent(fraction: float, digits: int = 2) -> str:
    """A fraction as per cent."""
    return f"{100 * fraction:.{digits}f} %"


def points(value: float) -> str:
    """Percentage points with a real minus sign."""
    return f"{value:+.2f}".replace("-", "−")
