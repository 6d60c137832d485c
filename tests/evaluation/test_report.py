from __future__ import annotations

import base64
import math
import re
from html.parser import HTMLParser

import pytest

from monai_instance_loss.evaluation.report import Picture, render_report
from monai_instance_loss.evaluation.report_tables import Table
from monai_instance_loss.evaluation.summary import compare_models, summarise_model


class Page(HTMLParser):
    """Tags that are open at the end, and every attribute."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.elements: list[list[tuple[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append(attrs)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def page(scores) -> str:
    models = {
        "net <1>": [
            scores("a", dice=0.5, n_true=1),
            scores("b", dice=0.75, n_true=1),
            scores("c", dice=0.0, n_pred=2, n_false=2, volume_pred_ml=0.25),
        ],
        "other": [scores("a", dice=0.25, n_true=1), scores("b", dice=0.25, n_true=1)],
    }
    summary = {
        "command": "evaluate --pred 'a & b'",
        "finished": "2026-01-01",
        "versions": {"torch": "2.8"},
        "settings": {"seed": 0},
        "pairs": {"cases": 3},
        "froc": {"cases": 1, "threshold": 0.2, "score": math.nan},
        "warnings": ["<c>.nii: odd"],
        "failures": [{"case": "c", "model": None, "message": "Expected <b>c.nii</b>"}],
        "models": {name: summarise_model(cases, [], (10.0,)) for name, cases in models.items()},
        "comparisons": [{"model": "other", "against": "net <1>", **compare_models(*models.values())}],
    }
    return render_report(
        summary,
        [Picture(b"\x89PNG", "a chart", "how to read it"), Picture(None, "FROC <curve>", "", "ValueError: a < b")],
        [Picture(b"\x89PNG", 'a "<b>"', "case a")],
        sections={
            "By <class>": [Table("Lesions <1>", ["Case", "Volume"], [["<a>", "1.5"]], note="a & b", sortable=True)]
        },
    )


def test_figures_are_inside_and_nothing_is_outside(page):
    parsed = Page(page)
    assert parsed.open == []
    links = [value for _, name, value in parsed.attributes if name == "href"]
    assert links
    identities = {value for _, name, value in parsed.attributes if name == "id"}
    assert {link.removeprefix("#") for link in links} <= identities
    sources = [value for _, name, value in parsed.attributes if name in ("src", "srcset", "action", "data")]
    assert len(sources) == 2
    for source in sources:
        assert base64.b64decode(source.removeprefix("data:image/png;base64,"), validate=True).startswith(b"\x89PNG")
    text = re.sub(r'src="data:[^"]*"', "", page)
    assert not re.search(r"https?:|//|@import|url\(|<link|<iframe|fetch|XMLHttp|import\(", text)
    assert text.count("<script>") == text.count("<script") == 1


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
    # (0.5 + 0.75) / 2, as the case without a lesion is apart
    assert "<td>0.625 [n &lt; 10], n = 2</td><td>0.250 [n &lt; 10], n = 2</td>" in page
    # both means, and -0.25 and -0.5
    assert "<td>0.250</td><td>0.625</td><td>-0.375 [n &lt; 10]</td>" in page
    assert "other minus net &lt;1&gt;, on 2 cases scored for both" in page
    assert ">below 10<" in page
    assert ">10 or more<" in page
    assert "Not scored: 1" in page
    assert "n = 2 is too small" in page


def test_lesion_free_cases_have_a_table_of_their_own(page):
    row = '<th scope="row">net &lt;1&gt;</th><td>1</td><td>1</td><td>2</td><td>2.00</td><td>0.250</td>'
    assert row in page.split("Cases without a lesion in the reference")[2]


def test_thresholds_units_and_versions_are_named(page):
    rows = re.findall(r'<tr><th scope="row">([^<]*)</th><td>([^<]*)</td></tr>', page)
    assert {("units", "ml, mm³ and mm"), ("IoU of panoptic quality", "above 0.5"), ("version of torch", "2.8")} <= {
        *rows
    }
    assert ("probability of FROC candidates", "0.2 or more") in rows


def test_tables_by_class_preset_or_lesion(page):
    assert "<h2>By &lt;class&gt;</h2>" in page
    assert "<caption>Lesions &lt;1&gt;</caption>" in page
    assert page.count('class="numbers sortable"') == 1
    assert '<th scope="row">&lt;a&gt;</th><td>1.5</td>' in page
    assert "a &amp; b" in page


def test_tables_are_reached_by_the_keyboard(page):
    regions = [dict(pairs) for pairs in Page(page).elements if ("role", "region") in pairs]
    assert len(regions) == page.count("<table")
    assert all(region["tabindex"] == "0" and region["aria-label"] for region in regions)


def test_without_failures_and_key_images(scores):
    summary = {
        "command": "", "finished": "", "versions": {}, "settings": {}, "pairs": {"cases": 0}, "failures": [],
        "warnings": [],
        "models": {name: summarise_model([], [], (10.0,)) for name in ("net, a", "net, b")}, "comparisons": [],
    }  # fmt: skip
    page = render_report(summary, [], [])
    assert "All pairs were scored." in page
    assert "No case that was scored has a missed or false lesion." in page
    assert "nan" not in page
    # nothing is compared, and nothing is announced
    assert "Models compared" not in page
