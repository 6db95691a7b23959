"""Renderings of a report: one self-contained HTML page, and Markdown."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from engine.report.blocks import Table
from engine.report.outline import outline
from engine.specs.report import Report

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).resolve().parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_VERDICTS = {"pass": "all gates passed", "fail": "a gate failed", "none": "no gates"}


def render_html(report: Report, title: str) -> str:
    """The report as one HTML file: no script, no external resource, light, dark and print.

    Args:
        report: the document.
        title: heading of the page, for example the job's label.
    """
    blocks = [
        {"block": block, "figures": [(figure.caption, Markup(figure.draw())) for figure in block.figures]}
        for block in outline(report)
    ]
    return _TEMPLATES.get_template("page.html.j2").render(
        title=title, report=report, verdict=_VERDICTS[report.verdict], blocks=blocks
    )


def render_markdown(report: Report) -> str:
    """The report as Markdown: the sentences and tables of the HTML page, without figures."""
    lines = ["# Spikebit report", "", f"Verdict: **{report.verdict}** ({_VERDICTS[report.verdict]})", ""]
    for block in outline(report):
        lines += [f"## {block.title}", ""]
        for sentence in block.sentences:
            lines += [_escape(sentence), ""]
        for part in block.tables:
            lines += [*_markdown_table(part), ""]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_table(part: Table) -> list[str]:
    caption = f"**{_escape(part.caption)}**" + (f" ({_escape(part.basis)})" if part.basis else "")
    header = "| " + " | ".join(_escape(cell) for cell in part.header) + " |"
    rule = "| " + " | ".join("---" for _ in part.header) + " |"
    rows = ["| " + " | ".join(_escape(cell) for cell in row) + " |" for row in part.rows]
    return [caption, "", header, rule, *rows]


def _escape(text: str) -> str:
    """Names from an upload must not become links, images, HTML or extra cells."""
    flat = re.sub(r"[\r\n\t]+", " ", text)
    return re.sub(r"([\\`*_\[\]<>|#!])", r"\\\1", flat)
