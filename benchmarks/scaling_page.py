"""The measured tables of docs/scaling.md, from the committed results (``python -m benchmarks.scaling_page``).

A test compares the page with the results, so that neither changes without the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.environment import ROOT
from benchmarks.frame import RESULTS

PAGE = ROOT / "docs" / "scaling.md"
BEGIN, END = "<!-- measured: {} -->\n", "<!-- end of {} -->\n"
BENCHMARKS = ("scaling", "service")


def main() -> None:
    """Rewrite the tables in place."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def filled(page: str) -> str:
    """The page with the tables of today's results between its markers.

    Raises:
        ValueError: a pair of markers is missing.
    """
    for name in BENCHMARKS:
        head, found, rest = page.partition(BEGIN.format(name))
        _, ended, tail = rest.partition(END.format(name))
        if not found or not ended:
            raise ValueError(f"{PAGE.name}: expected the markers of {name}")
        page = head + found + "".join(_table(RESULTS / f"{name}.json")) + ended + tail
    return page


def _table(path: Path) -> Iterator[str]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    where = document["environment"]
    yield f"\n`make bench NAME={document['benchmark']}`, {where['date'][:10]}, commit {where['commit'][:7]}, "
    yield f"{where['usable_cores']} cores of {where['cpu']}:\n\n| | measured | must |\n| --- | --- | --- |\n"
    for name, row in document["rows"].items():
        yield f"| {name} | {_value(row)} | {_bound(row)} |\n"
    yield "\n"


def _value(row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return str(row["reason"])
    return f"{row['value']:.3g} {row['unit']}".strip() + ("" if row["ok"] else " (missed)")


def _bound(row: Mapping[str, Any]) -> str:
    return "" if row["must"] is None else f"{'≤' if row['better'] == 'lower' else '≥'} {row['must']:g}"


if __name__ == "__main__":
    main()
