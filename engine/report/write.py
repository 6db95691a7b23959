"""Writing the report: JSON is the document, HTML and Markdown are renderings of it."""

from __future__ import annotations

from pathlib import Path

from engine.report.render import render_html, render_markdown
from engine.specs.report import Report
from engine.steps.context import ArtifactFile


def write_report(report: Report, out: Path) -> tuple[ArtifactFile, ...]:
    """Write ``report.json``, ``report.html`` and ``report.md`` below ``out``."""
    title = "Spikebit report"
    files = (
        ("report-json", "report.json", "application/json", report.model_dump_json(indent=2) + "\n"),
        ("report-html", "report.html", "text/html; charset=utf-8", render_html(report, title)),
        ("report-md", "report.md", "text/markdown; charset=utf-8", render_markdown(report)),
    )
    for _, path, _, text in files:
        (out / path).write_text(text, encoding="utf-8")
    return tuple(ArtifactFile(role, path, media_type) for role, path, media_type, _ in files)
