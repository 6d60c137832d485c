from __future__ import annotations

import base64
import math
import re
from html.parser import HTMLParser

import pytest

from monai_instance_loss.evaluation.report import Picture, render_report
from monai_instance_loss.evaluation.summary import compare_models, summarise_model


class Page(HTMLParser):
    """Tags that are open at the end, and every attribute."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def page(scores) -> str:
    models = {
        "net <1>": [scores("a", dice=0.5), scores("b", dice=0.75), scores("c", dice=math.nan)],
        "other": [scores("a", dice=0.25), scores("b", dice=0.25)],
    }
    summary = {
        "command": "evaluate --pred 'a & b'",
        "finished": "2026-01-01",
        "versions": {"torch": "2.8"},
        "settings": {"seed": 0},
        "pairs": {"cases": 3},
        "warnings": ["<c>.nii: odd"],
        "failures": [{"case": "c", "model": None, "message": "Expected <b>c.nii</b>"}],
        "models": {name: summarise_model(cases, [], (10.0,)) for name, cases in models.items()},
        "comparisons": [{"model": "other", "against": "net <1>", **compare_models(*models.values())}],
    }
    return render_report(
        summary,
        [Picture(b"\x89PNG", "a chart", "how to read it"), Picture(None, "FROC <curve>", "", "ValueError: a < b")],
        [Picture(b"\x89PNG", 'a "<b>"', "case a")],
    )


def test_figures_are_inside_and_nothing_is_outside(page):
    parsed = Page(page)
    assert parsed.open == []
    sources = [value for _, name, value in parsed.attributes if name in ("src", "href", "srcset", "action", "data")]
    assert len(sources) == 2
    for source in sources:
        assert base64.b64decode(source.removeprefix("data:image/png;base64,"), validate=True).startswith(b"\x89PNG")
    text = re.sub(r'src="data:[^"]*"', "", page)
    assert not re.search(r"https?:|//|@import|url\(|<script|<link|<iframe", text)


def test_every_figure_has_a_text_for_those_who_cannot_see_it(page):
    assert [value for tag, name, value in Page(page).attributes if (tag, name) == ("img", "alt")] == [
        "a chart",
        'a "<b>"',
    ]


def test_names_and_messages_are_text(page):
    assert "net &lt;1&gt;" in page
    assert "Expected &lt;b&gt;c.nii&lt;/b&gt;" in page
    assert "a &amp; b" in page
    assert "<p>&lt;c&gt;.nii: odd</p>" in page


def test_a_figure_that_was_not_drawn_is_told(page):
    assert "Not drawn: FROC &lt;curve&gt; (ValueError: a &lt; b)" in page


def test_numbers(page):
    # two values, so that the interval is from one to the other, and the NaN of the third case is left out
    assert "0.625 [0.500, 0.750], n = 2" in page
    assert "-0.375 [-0.500, -0.250]" in page
    assert "other minus net &lt;1&gt;, on 2 cases scored for both" in page
    assert "below 10" in page
    assert "10 or more" in page
    assert "Not scored: 1" in page


def test_without_failures_and_key_images(scores):
    summary = {
        "command": "", "finished": "", "versions": {}, "settings": {}, "pairs": {"cases": 0}, "failures": [],
        "warnings": [],
        "models": {"net": summarise_model([], [], (10.0,))}, "comparisons": [],
    }  # fmt: skip
    page = render_report(summary, [], [])
    assert "All pairs were scored." in page
    assert "No case that was scored has a missed or false lesion." in page
    assert "nan" not in page
