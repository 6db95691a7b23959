"""Matplotlib figures as inline SVG that takes its colours from the page's CSS, the same bytes every time."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Sentinel colours: written into the SVG, then replaced by CSS variables, so that light, dark and print all work.
TEXT, MUTED, GRID, FIRST, SECOND, PAPER = "#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f", "#101112"
_VARIABLES = {
    TEXT: "var(--text)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    FIRST: "var(--first)",
    SECOND: "var(--second)",
    PAPER: "var(--paper)",
}
WIDTH_IN = 6.8
LONGEST_NAME = 26

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: searchable, readable aloud
    "text.parse_math": False,  # a layer may be called "a$b$"
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same metrics everywhere
    "font.size": 9,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": TEXT,
    "ytick.labelcolor": TEXT,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "errorbar.capsize": 3,
}


def draw(name: str, title: str, height_in: float, paint: Callable[[Axes], None]) -> str:
    """One figure as an ``<svg>`` element.

    Args:
        name: prefix of every id in it, so that several figures live in one page.
        title: what a screen reader says.
        height_in: height in inches at the fixed width.
        paint: draws on the axes.
    """
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a glyph that the font lacks is drawn by the browser's own
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        canvas = FigureCanvasSVG(figure)
        paint(figure.add_subplot())
        buffer = io.StringIO()
        canvas.print_svg(buffer, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    return _inline(buffer.getvalue(), name, title)


def short(name: str) -> str:
    """A layer's name that fits beside a row and holds nothing that XML forbids."""
    clean = "".join(character if character.isprintable() else "�" for character in name)
    return clean if len(clean) <= LONGEST_NAME else clean[: LONGEST_NAME - 1] + "…"


def _inline(document: str, name: str, title: str) -> str:
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    svg = re.sub(r'<svg ([^>]*?)width="[^"]+"', r"<svg \1", svg, count=1)
    svg = re.sub(r'<svg ([^>]*?)height="[^"]+"', r"<svg \1", svg, count=1)
    escaped = title.replace("&", "&amp;").replace("<", "&lt;")
    opening = svg.index(">") + 1
    head = svg[: opening - 1] + f' role="img" aria-labelledby="{name}-title">'
    return f'{head}<title id="{name}-title">{escaped}</title>{svg[opening:]}'.rstrip()
