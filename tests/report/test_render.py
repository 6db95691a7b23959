"""The page is whole, self-contained and safe; the Markdown is the committed one."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import pytest

from engine.report.render import render_html, render_markdown
from engine.specs.report import Report

GOLDEN = Path(__file__).parent / "golden" / "whole.md"


class Page(HTMLParser):
    """Checks nesting and collects ids, references and tags."""

    VOID: ClassVar[set[str]] = {"meta", "br", "link", "img", "use", "path", "image"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name in {"href", "xlink:href", "src"} and value:
                self.references.append(value)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def parse(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    return page


@pytest.mark.parametrize("name", ["whole", "evaluate_only", "sensitivity_only"])
def test_the_page_is_self_contained(name: str, request: pytest.FixtureRequest) -> None:
    html = render_html(request.getfixturevalue(name), "digits <i>")
    page = parse(html)
    assert "script" not in page.tags
    assert all(reference.startswith("#") for reference in page.references), page.references
    assert {reference[1:] for reference in page.references} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert not re.search(r"@import|url\((?!#)", html)
    assert "digits &lt;i&gt;" in html
    assert html.count("<svg") == html.count('role="img"') == html.count("</figcaption>")


def test_names_from_an_upload_are_text(whole: Report) -> None:
    html = render_html(whole, "t")
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<b>$x$" not in html
    markdown = render_markdown(whole)
    assert "<script>" not in markdown.replace("\\<script\\>", "")


def test_every_figure_is_there(whole: Report) -> None:
    html = render_html(whole, "t")
    figures = ("accuracy", "confusion", "trace", "bits", "front", "training", "rates", "distance", "dead")
    for name in figures:
        assert f'<title id="{name}-title">' in html


def test_rendering_is_deterministic(whole: Report) -> None:
    assert render_html(whole, "t") == render_html(whole, "t")


def test_a_zero_or_negative_trace_is_drawn(whole: Report) -> None:
    document = whole.model_dump()
    document["sections"][1]["layers"][0]["trace"] = 0.0
    document["sections"][2]["front"] = ()
    document["sections"][2]["source"] = "user"
    html = render_html(Report.model_validate(document), "t")
    assert 'id="trace-title"' in html
    assert 'id="front-title"' not in html
    assert "The plan was given by the user." in html


def test_the_numbers_of_the_figures_stand_in_tables(whole: Report) -> None:
    html = render_html(whole, "t")
    for text in ("812", "NO: cap reached", "97.11 %", "FAILED", "449 of 450", "0.012", "+0.89 points"):
        assert text in html


def test_markdown_is_the_reviewed_one(whole: Report) -> None:
    markdown = render_markdown(whole)
    if os.environ.get("SPIKEBIT_UPDATE_GOLDEN"):
        GOLDEN.write_text(markdown, encoding="utf-8")
    assert markdown == GOLDEN.read_text(encoding="utf-8")


def test_short_reports_have_no_empty_sections(evaluate_only: Report) -> None:
    markdown = render_markdown(evaluate_only)
    assert [line for line in markdown.splitlines() if line.startswith("## ")] == [
        "## Summary",
        "## Accuracy",
        "## Firing",
        "## Network, data, environment",
    ]
