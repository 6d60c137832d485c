"""The report: one HTML file that needs no network, figures inside."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from monai_instance_loss.evaluation.report_numbers import MIN_PAIRS
from monai_instance_loss.evaluation.report_tables import (
    Table,
    comparison_table,
    froc_table,
    lesion_free_table,
    pooled_table,
    score_table,
    size_table,
)
from monai_instance_loss.evaluation.statistics import MIN_CASES
from monai_instance_loss.evaluation.summary import masks_point

__all__ = ["Picture", "render_report"]

_TITLE = "Lesion segmentation: evaluation"
_TOUCH = "touch"
_FULL = "faces, edges and corners (26 neighbours)"


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

    @property
    def data(self) -> str:
        """The image in base 64."""
        return base64.b64encode(self.png or b"").decode("ascii")


@dataclass(frozen=True)
class _Section:
    title: str
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    paragraphs: Sequence[str] = ()


def render_report(
    summary: Mapping[str, Any],
    charts: Sequence[Picture],
    key_images: Sequence[Picture],
    *,
    sections: Mapping[str, Sequence[Table]] | None = None,
) -> str:
    """The report as HTML that refers to nothing outside itself; its one script sorts tables.

    Source: ours.

    Args:
        summary: what ``summary.json`` holds.
        charts: figures of all cases.
        key_images: figures of single cases.
        sections: more tables, by the heading that they stand under: by class or by preset, of cases, of lesions.

    Example:
        >>> page = render_report({"models": {}, "comparisons": [], "failures": [], "warnings": [], "settings": {},
        ...                       "versions": {}, "pairs": {"cases": 0}, "command": "", "finished": "now"}, [], [])
        >>> page.startswith("<!doctype html>"), "http" in page
        (True, False)
    """
    models, n_cases = summary["models"], summary["pairs"]["cases"]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files(__package__).joinpath("report.html.j2").read_text("utf-8"))
    failures = [[failure["case"], failure["model"] or "all", failure["message"]] for failure in summary["failures"]]
    return template.render(
        title=_TITLE,
        lead=f"{', '.join(models)}: {n_cases} case{'s' * (n_cases != 1)}. {summary['finished']}",
        small=_small_n(models),
        failures=Table("These files are in no number below", ["Case", "Model", "Reason"], failures, wraps=True),
        remarks=summary["warnings"],
        sections=_sections(summary, charts, key_images, sections or {}),
        command=summary["command"],
    ).lstrip()


def _sections(
    summary: Mapping[str, Any],
    charts: Sequence[Picture],
    key_images: Sequence[Picture],
    more: Mapping[str, Sequence[Table]],
) -> list[_Section]:
    models, froc = summary["models"], summary.get("froc")
    facts = [[name.replace("_", " "), str(value)] for name, value in summary["settings"].items()]
    facts += [["units", "ml, mm³ and mm"], ["IoU of panoptic quality", "above 0.5"]]
    if froc:
        facts.append(["probability of FROC candidates", f"{froc['threshold']:g} or more"])
    facts += [[f"version of {name}", value] for name, value in summary["versions"].items()]
    points = []
    if froc and not math.isnan(froc["score"]):
        points.append(froc_table(froc, masks_point(next(iter(models.values())), froc)))
    without_errors = [] if key_images else ["No case that was scored has a missed or false lesion."]
    scores = [score_table(models), pooled_table(models)]
    if any(model["lesion_free"]["cases"] for model in models.values()):
        scores.append(lesion_free_table(models))
    return [
        _Section("Scores", scores),
        *(
            [_Section("Models compared", list(map(comparison_table, summary["comparisons"])))]
            * bool(summary["comparisons"])
        ),
        _Section("Figures", points, charts),
        _Section("By lesion volume", [size_table(name, model) for name, model in models.items()]),
        *(_Section(title, tables) for title, tables in more.items()),
        _Section("Worst cases", pictures=key_images, paragraphs=without_errors),
        _Section(
            "How it was measured",
            [Table("Settings and versions", ["Name", "Value"], facts, wraps=True)],
            paragraphs=_methods(summary["settings"]),
        ),
    ]


def _small_n(models: Mapping[str, Mapping[str, Any]]) -> str:
    fewest = min((model["cases"] for model in models.values()), default=0)
    if fewest >= MIN_CASES:
        return ""
    return (
        f"n = {fewest} is too small: of fewer than {MIN_CASES} cases no interval by case is told (n < {MIN_CASES}), "
        "and what is found here may well be chance."
    )


def _methods(settings: Mapping[str, Any]) -> tuple[str, ...]:
    matching = settings.get("matching", _TOUCH)
    rule = (
        "One of the reference is detected when at least one predicted voxel lies in it, and missed otherwise; a "
        "predicted one is false when it shares no voxel with the reference (Kuijf et al. 2019, "
        "doi:10.1109/TMI.2019.2905770)."
        if matching == _TOUCH
        else f"One of the reference is detected, and a predicted one not false, when they match: {matching}."
    )
    return (
        f"A lesion is a connected component, over {settings.get('connectivity', _FULL)}. {rule}",
        "Dice, H95 and AVD are those of the WMH Segmentation Challenge; H95 is the larger of the two directed 95th "
        "percentiles of the distances between borders, which are looked for in each slice of the third axis. H95 says "
        "nothing where a model finds no voxel: compare the n of each mean.",
        "Lesion recall, precision and F1 are of each case, and then averaged. Cases without a lesion in the reference "
        "are apart: they count in the numbers of missed and false lesions, and in no other mean, whatever a model "
        "predicts there. A case without a predicted lesion has no precision. Panoptic quality matches lesions one to "
        "one at an IoU above 0.5.",
        "Intervals of means and of differences are 95 % BCa bootstrap intervals, which draw whole cases "
        "(doi:10.1080/01621459.1987.10478410). There is none of fewer than "
        f"{MIN_CASES} cases, where resampling gives little more than the smallest and the largest case, and none where "
        "all cases are alike, which does not mean that the next one will be. Exact intervals (Clopper and Pearson, "
        "doi:10.1093/biomet/26.4.404) take lesions for independent. Lesions of one patient are not: where cases "
        "differ, exact intervals are too narrow, and those by case are the ones to report.",
        "P values are of the two-sided Wilcoxon signed-rank test and are not adjusted for the number of tests. Of "
        f"fewer than {MIN_PAIRS} pairs, none can be below 0.05, and none is told.",
        "Limits of agreement, bias +- 1.96 SD, are told of "
        f"{MIN_CASES} cases or more. All volumes and distances are in ml, mm³ and mm, from the affine of each file.",
    )
