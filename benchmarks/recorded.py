"""Rows that a long benchmark has measured already: another one names them.

``make bench NAME=curvature`` is to show what predictions and plans are worth too; both take long and depend on no
peer's speed. Their bounded rows are taken from ``benchmarks/results``, each with the commit and the date that it was
measured on in its detail; where there is no such file, the row is absent and says which benchmark writes it.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import frame
from benchmarks.frame import Absent, Finding, Measured, Row


def rows_of(name: str) -> tuple[Row, ...]:
    """The bounded rows of another benchmark, as ``NAME.row``."""
    rows: tuple[Row, ...] = importlib.import_module(frame.BENCHMARKS[name]).ROWS
    return tuple(replace(row, name=f"{name}.{row.name}") for row in rows if row.must is not None)


def findings_of(name: str) -> Iterator[Finding]:
    """Those rows' findings, from the record; what was found besides is left out."""
    path = frame.RESULTS / f"{name}.json"
    known = {row.name for row in rows_of(name)}
    if not path.exists():
        yield from (Absent(row, f"not measured yet: run `make bench NAME={name}` first") for row in sorted(known))
        return
    for finding in _recorded(path):
        if f"{name}.{finding.name}" in known:
            yield replace(finding, name=f"{name}.{finding.name}")


def _recorded(path: Path) -> Iterator[Finding]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    environment = document["environment"]
    measured = {key: environment.get(key) for key in ("commit", "clean", "date")}
    for name, row in document["rows"].items():
        if row["value"] is None:
            yield Absent(name, f"{row['reason']} ({measured['date']})")
        else:
            spread = None if row["spread"] is None else (row["spread"][0], row["spread"][1])
            yield Measured(name, row["value"], spread, {"measured_at": measured})
