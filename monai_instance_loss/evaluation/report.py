"""The report: one HTML file without scripts or links, figures inside."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from monai_instance_loss.evaluation.summary import METRICS

__all__ = ["Picture", "render_report"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 66rem; margin: 2rem auto;
  padding: 0 1rem; }
h1, h2 { line-height: 1.2; break-after: avoid; } h2 { margin-top: 2.4rem; border-bottom: 1px solid #bbb; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .4rem; }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th[scope=row], th:first-child { text-align: left; } thead th { border-bottom: 2px solid #444; }
.text th, .text td { text-align: left; white-space: normal; } .text td:last-child { overflow-wrap: anywhere; }
figure { margin: 1.4rem 0; break-inside: avoid; } img { max-width: 100%; height: auto; }
figcaption, .small { font-size: .87rem; color: #444; } .scroll { overflow-x: auto; }
.failed { border: 2px solid #8a1f11; padding: .2rem 1rem; } code { overflow-wrap: anywhere; font-size: .85rem; }
@media print { body { font-size: 11px; margin: 0; } .scroll { overflow: visible; } table { break-inside: avoid; }
  th, td { white-space: normal; padding: .15rem .4rem; } }
"""

_METHODS = (
    "A lesion is a connected component, over faces, edges and corners (26 neighbours). One of the reference is "
    "detected when at least one predicted voxel lies in it, and missed otherwise; a predicted one is false when it "
    "shares no voxel with the reference (Kuijf et al. 2019, doi:10.1109/TMI.2019.2905770).",
    "Dice, H95 and AVD are those of the WMH Segmentation Challenge; H95 is the larger of the two directed 95th "
    "percentiles of the distances between borders, which are looked for in each slice of the third axis. H95 says "
    "nothing where a model finds no voxel, and AVD nothing where the reference has none: compare the n of each mean.",
    "Lesion recall, precision and F1 are of each case, and then averaged. A case without a lesion in the reference has "
    "no recall, one without a predicted lesion no precision, and one without either no F1; such cases are left out "
    "of that mean and never count as 0 or 1. Panoptic quality matches lesions one to one at an IoU above 0.5.",
    "Intervals of means and of differences are percentile bootstrap intervals over cases. Wilson's intervals take "
    "lesions for independent; lesions of one patient are not, and the interval by case is the safer one. P values are "
    "of the two-sided Wilcoxon signed-rank test and are not adjusted for the number of tests.",
    "All volumes and distances are in ml, mm³ and mm, from the affine of each file.",
)


@dataclass(frozen=True)
class Picture:
    """A figure of the report.

    Attributes:
        png: the image, None where it was not drawn.
        alt: what it shows, for those who cannot see it.
        caption: how to read it.
        error: why it was not drawn.
    """

    png: bytes | None
    alt: str
    caption: str
    error: str = "the evaluation ended before"


def render_report(summary: Mapping[str, Any], charts: Sequence[Picture], key_images: Sequence[Picture]) -> str:
    """The report as HTML that refers to nothing outside itself.

    Source: ours.

    Args:
        summary: what ``summary.json`` holds.
        charts: figures of all cases.
        key_images: figures of single cases.

    Example:
        >>> page = render_report({"models": {}, "comparisons": [], "failures": [], "warnings": [], "settings": {},
        ...                       "versions": {}, "pairs": {"cases": 0}, "command": "", "finished": "now"}, [], [])
        >>> page.startswith("<!doctype html>"), "<script" in page
        (True, False)
    """
    models = summary["models"]
    parts = [
        "<h1>Lesion segmentation: evaluation</h1>",
        f"<p>{escape(', '.join(models))}: {summary['pairs']['cases']} cases. {escape(summary['finished'])}</p>",
        _failures(summary["failures"]),
        *(f"<p>{escape(remark)}</p>" for remark in summary["warnings"]),
        "<h2>Scores</h2>",
        _scores(models),
        _lesions(models),
        *(_comparison(comparison) for comparison in summary["comparisons"]),
        "<h2>Figures</h2>",
        *map(_picture, charts),
        *map(_strata, models.items()),
        "<h2>Worst cases</h2>",
        *(
            map(_picture, key_images)
            if key_images
            else ["<p>No case that was scored has a missed or false lesion.</p>"]
        ),
        "<h2>How it was measured</h2>",
        *(f"<p>{escape(paragraph)}</p>" for paragraph in _METHODS),
        _facts(summary),
    ]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Lesion segmentation: evaluation</title><style>{_STYLE}</style>"
    )
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _picture(picture: Picture) -> str:
    if picture.png is None:
        return f'<p class="failed">Not drawn: {escape(picture.alt)} ({escape(picture.error)})</p>'
    data = base64.b64encode(picture.png).decode("ascii")
    return (
        f'<figure><img alt="{escape(picture.alt)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )


def _failures(failures: Sequence[Mapping[str, Any]]) -> str:
    if not failures:
        return "<p>All pairs were scored.</p>"
    rows = [[failure["case"], failure["model"] or "all", failure["message"]] for failure in failures]
    table = _table("These files are in no number below", ["Case", "Model", "Reason"], rows, "text")
    return f'<div class="failed"><p><strong>Not scored: {len(failures)}</strong></p>{table}</div>'


def _scores(models: Mapping[str, Any]) -> str:
    rows = []
    for metric in METRICS:
        scores = [model["scores"][metric.field] for model in models.values()]
        better = "higher is better" if metric.higher_is_better else "lower is better"
        cells = [
            f"{_interval(score['mean'], score['low'], score['high'], metric.digits)}, n = {score['n']}"
            for score in scores
        ]
        rows.append([f"{metric.title}{f' ({metric.unit})' if metric.unit else ''}, {better}", *cells])
    return _table("Mean over cases [95 % bootstrap interval], number of cases", ["Score", *models], rows)


def _lesions(models: Mapping[str, Any]) -> str:
    rows = []
    for name, model in models.items():
        lesions = model["lesions"]
        rates = (lesions[key] for key in ("sensitivity", "precision"))
        cells = [_interval(rate["value"], rate["low_by_case"], rate["high_by_case"], 3) for rate in rates]
        rows.append([name, *(str(lesions[key]) for key in ("n_true", "n_missed", "n_pred", "n_false")), *cells])
    columns = ["Model", "Lesions", "Missed", "Predicted", "False", "Sensitivity", "Precision"]
    return _table("All lesions of all cases together [95 % interval, by resampling cases]", columns, rows)


def _comparison(comparison: Mapping[str, Any]) -> str:
    rows = []
    for metric in METRICS:
        test = comparison["scores"][metric.field]
        shown = _interval(test["difference"], test["low"], test["high"], metric.digits, signed=True)
        unit = f" ({metric.unit})" if metric.unit else ""
        rows.append([f"{metric.title}{unit}", shown, _p_value(test["p_value"]), str(test["n"])])
    title = f"{comparison['model']} minus {comparison['against']}, on {comparison['cases']} cases scored for both"
    return _table(title, ["Score", "Mean difference [95 % interval]", "p (Wilcoxon)", "n"], rows)


def _strata(item: tuple[str, Mapping[str, Any]]) -> str:
    name, model = item
    rows = [
        [
            _bounds(stratum["from_mm3"], stratum["to_mm3"]),
            f"{stratum['n_detected']} of {stratum['n_true']}",
            _interval(stratum["sensitivity"], stratum["low"], stratum["high"], 3),
            _interval(stratum["sensitivity"], stratum["low_by_case"], stratum["high_by_case"], 3),
        ]
        for stratum in model["strata"]
    ]
    columns = ["Volume (mm³)", "Detected", "Sensitivity [Wilson]", "Sensitivity [by case]"]
    return _table(f"Sensitivity by lesion volume: {name}", columns, rows)


def _facts(summary: Mapping[str, Any]) -> str:
    rows = [[name.replace("_", " "), str(value)] for name, value in summary["settings"].items()]
    rows += [[f"version of {name}", value] for name, value in summary["versions"].items()]
    return f"{_table('Settings and versions', ['', ''], rows, 'text')}<p><code>{escape(summary['command'])}</code></p>"


def _table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "numbers") -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "\n".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return (
        f'<div class="scroll"><table class="{kind}"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>"
    )


def _interval(value: float, low: float, high: float, digits: int, signed: bool = False) -> str:
    if math.isnan(value):
        return "-"
    sign = "+" if signed else ""
    shown = f"{value:{sign}.{digits}f}"
    return shown if math.isnan(low) else f"{shown} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def _p_value(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _bounds(low: float, high: float | None) -> str:
    if high is None:
        return f"{low:g} or more"
    return f"{low:g} to {high:g}" if low else f"below {high:g}"
