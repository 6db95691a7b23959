"""What every benchmark shares: rows with bounds, the run, the table, the file, the exit status.

A benchmark is a module with ``ROWS`` (what it must report, declared before anything runs) and
``run() -> Iterator[Measured | Absent]``. A row that was declared and never came is reported as absent with the
reason, so nothing can be left out by a crash.
"""

from __future__ import annotations

import importlib
import json
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

RESULTS = Path(__file__).resolve().parent / "results"

# name → module; the catalogue of `make bench NAME=…`.
BENCHMARKS: dict[str, str] = {
    "api": "benchmarks.api",
    "badfiles": "benchmarks.bad_files",
    "curvature": "benchmarks.curvature",
    "exports": "benchmarks.exports",
    "inference": "benchmarks.inference",
    "plans": "benchmarks.plans",
    "prediction": "benchmarks.prediction",
    "quality": "benchmarks.quality",
    "quality-full": "benchmarks.quality_full",
    "scaling": "benchmarks.scaling",
    "service": "benchmarks.scale",
    "simulation": "benchmarks.simulation",
    "streaming": "benchmarks.streaming",
    "training": "benchmarks.training",
}


@dataclass(frozen=True)
class Row:
    """A declared row: what is measured, in which unit, and how good it has to be (None: reported only)."""

    name: str
    unit: str
    better: Literal["lower", "higher"]
    must: float | None = None
    stretch: float | None = None


@dataclass(frozen=True)
class Measured:
    """A value; ``spread`` is the lowest and highest of its repetitions. ``detail`` goes into the file alone."""

    name: str
    value: float
    spread: tuple[float, float] | None = None
    detail: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Absent:
    """No value, and why: data, peer or machine lacks."""

    name: str
    reason: str


Finding = Measured | Absent


def judge(row: Row, finding: Finding) -> dict[str, Any]:
    """A row as it is written: the value against its bounds.

    Example:
        >>> judge(Row("p99", "ms", "lower", must=50), Measured("p99", 12.0))["ok"]
        True
    """
    written: dict[str, Any] = {
        "value": None,
        "unit": row.unit,
        "better": row.better,
        "must": row.must,
        "stretch": row.stretch,
        "ok": False,
        "spread": None,
    }
    if isinstance(finding, Absent):
        return written | {"reason": finding.reason}
    written |= {
        "value": finding.value,
        "spread": None if finding.spread is None else list(finding.spread),
        "ok": row.must is None or _reached(row, finding.value, row.must),
    }
    if row.stretch is not None:
        written["stretch_reached"] = _reached(row, finding.value, row.stretch)
    return written | ({"detail": dict(finding.detail)} if finding.detail else {})


def _reached(row: Row, value: float, bound: float) -> bool:
    return value <= bound if row.better == "lower" else value >= bound


def collect(rows: Sequence[Row], findings: Iterator[Finding]) -> dict[str, dict[str, Any]]:
    """Every declared row, judged, in its order; a benchmark that fails loses only the rows that did not come yet.

    Raises:
        KeyError: a finding for a row that was not declared.
    """
    declared = {row.name: row for row in rows}
    found: dict[str, Finding] = {}
    reason = "the benchmark did not report it"
    try:
        for finding in findings:
            if finding.name not in declared:
                raise KeyError(f"row {finding.name!r} was not declared")
            found[finding.name] = finding
    except Exception as error:  # whatever went wrong is the reason of the missing rows
        traceback.print_exc()
        reason = f"the benchmark failed: {type(error).__name__}: {error}"
    return {name: judge(row, found.get(name, Absent(name, reason))) for name, row in declared.items()}


def run_benchmark(name: str) -> dict[str, dict[str, Any]]:
    """Run a benchmark of the catalogue and judge its rows.

    Raises:
        KeyError: there is no such benchmark; the message lists the known ones.
    """
    if name not in BENCHMARKS:
        raise KeyError(f"unknown benchmark {name!r}; known: {', '.join(sorted(BENCHMARKS))}")
    module = importlib.import_module(BENCHMARKS[name])
    return collect(module.ROWS, module.run())


def format_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The rows for a reader."""
    lines = [("row", "value", "spread", "must", "stretch", "")]
    for name, row in rows.items():
        sign = "≤" if row["better"] == "lower" else "≥"
        spread = "–" if row["spread"] is None else f"{row['spread'][0]:.4g} to {row['spread'][1]:.4g}"
        mark = "ok" if row["ok"] else f"MISSED {row.get('reason', '')}".strip()
        lines.append(
            (
                name,
                "–" if row["value"] is None else f"{row['value']:.4g} {row['unit']}".strip(),
                spread,
                "–" if row["must"] is None else f"{sign} {row['must']:g}",
                "–" if row["stretch"] is None else f"{sign} {row['stretch']:g}",
                mark,
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[5]]).rstrip()
        for line in lines
    )


def write_result(
    folder: Path, name: str, rows: Mapping[str, Mapping[str, Any]], environment: Mapping[str, Any]
) -> Path:
    """Write ``NAME.json``: the rows and what they depend on."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    document = {"benchmark": name, "environment": environment, "rows": rows}
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def result_line(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The machine-readable last line."""
    short = {name: {key: row[key] for key in row if key != "detail"} for name, row in rows.items()}
    return "RESULT " + json.dumps(short, ensure_ascii=False)


def exit_status(rows: Mapping[str, Mapping[str, Any]]) -> int:
    """1 where a must is missed, or was not measured."""
    return int(any(not row["ok"] for row in rows.values()))
