"""The tables of a report: numbers of a summary as text for readers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monai_instance_loss.evaluation.report_numbers import bounds_text, interval_text, number, p_text, rate_texts
from monai_instance_loss.evaluation.summary import METRICS, Metric

__all__ = ["Table", "comparison_table", "froc_table", "lesion_free_table", "pooled_table", "score_table", "size_table"]


@dataclass(frozen=True)
class Table:
    """A table of the report; its cells are text, and ``-`` is nothing to tell.

    Attributes:
        title: what it shows.
        columns: their heads.
        rows: each as long as ``columns``; the first cell is its head.
        note: how to read it; shown below.
        sortable: whether readers can sort it by each column.
        wraps: whether cells are sentences, which wrap.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    sortable: bool = False
    wraps: bool = False


def score_table(models: Mapping[str, Mapping[str, Any]], title: str = "Scores") -> Table:
    """Mean of each score over the cases of each model, see ``summarise_model``.

    Example:
        >>> from monai_instance_loss.evaluation.summary import summarise_model
        >>> score_table({"net": summarise_model([], [], [])}).rows[0]
        ['Dice, higher is better', '-']
    """
    rows = []
    for metric in METRICS:
        scores = [model["scores"][metric.field] for model in models.values()]
        better = "higher is better" if metric.higher_is_better else "lower is better"
        unlike = len({score["n"] for score in scores}) > 1
        cells = [f"{interval_text(score, metric.digits)}, n = {score['n']}" if score["n"] else "-" for score in scores]
        rows.append([f"{_name(metric)}, {better}{' *' if unlike else ''}", *cells])
    marked = any(row[0].endswith("*") for row in rows)
    note = "* These means are not of the same cases; where two models are compared below, they are." if marked else ""
    return Table(f"{title}: mean over cases [95 % interval], n cases", ["Score", *models], rows, note)


def pooled_table(models: Mapping[str, Mapping[str, Any]]) -> Table:
    """Numbers of lesions of all cases together, with both intervals, and merges and splits.

    Example:
        >>> from monai_instance_loss.evaluation.summary import summarise_model
        >>> pooled_table({"net": summarise_model([], [], [])}).rows[0][:3]
        ['net', '0', '0']
    """
    columns = ["Model", "Lesions", "Missed", "Sensitivity [exact]", "[by case]", "Predicted", "False"]
    columns += ["Precision [exact]", "[by case]", "Merges", "Splits"]
    rows = []
    for name, model in models.items():
        lesions, joined = model["lesions"], model["merges_and_splits"]
        rows.append(
            [
                name,
                *(str(lesions[key]) for key in ("n_true", "n_missed")),
                *rate_texts(lesions["sensitivity"]),
                *(str(lesions[key]) for key in ("n_pred", "n_false")),
                *rate_texts(lesions["precision"]),
                f"{joined['n_merges']} over {joined['n_merged']} lesions" if joined["n_merges"] else "0",
                f"{joined['n_splits']} into {joined['n_pieces']} pieces" if joined["n_splits"] else "0",
            ]
        )
    note = (
        "Merges are predicted lesions that match several of the reference; splits are lesions of the reference that "
        "several predicted ones match."
    )
    return Table("All lesions of all cases together [95 % interval]", columns, rows, note)


def lesion_free_table(models: Mapping[str, Mapping[str, Any]]) -> Table:
    """What each model finds in cases without a lesion in the reference.

    Example:
        >>> from monai_instance_loss.evaluation.summary import summarise_model
        >>> lesion_free_table({"net": summarise_model([], [], [])}).rows
        [['net', '0', '0', '0', '-', '-']]
    """
    rows = []
    for name, model in models.items():
        free = model["lesion_free"]
        rows.append(
            [
                name,
                *(str(free[key]) for key in ("cases", "cases_with_false", "n_false")),
                number(free["n_false_per_case"], 2),
                number(free["false_volume_ml_per_case"], 3),
            ]
        )
    columns = ["Model", "Cases", "Cases with a false lesion", "False lesions", "a case", "False volume a case (ml)"]
    return Table("Cases without a lesion in the reference", columns, rows)


def comparison_table(comparison: Mapping[str, Any]) -> Table:
    """Means of two models on the same cases, their difference and its test, see ``compare_models``.

    Example:
        >>> from monai_instance_loss.evaluation.summary import compare_models
        >>> comparison_table({"model": "new", "against": "old", **compare_models([], [])}).title
        'new minus old, on 0 cases scored for both'
    """
    model, against = comparison["model"], comparison["against"]
    rows = []
    for metric in METRICS:
        test = comparison["scores"][metric.field]
        means = (number(test[name], metric.digits) for name in ("mean_second", "mean_first"))
        difference = interval_text({**test, "mean": test["difference"]}, metric.digits, signed=True)
        rows.append([_name(metric), *means, difference, p_text(test["p_value"], test["n"]), str(test["n"])])
    return Table(
        f"{model} minus {against}, on {comparison['cases']} cases scored for both",
        ["Score", model, against, "Mean difference [95 % interval]", "p (Wilcoxon)", "n"],
        rows,
        "Each row is of the n cases in which both models have a number.",
    )


def size_table(name: str, model: Mapping[str, Any]) -> Table:
    """Lesions found and false ones by their volume.

    Example:
        >>> from monai_instance_loss.evaluation.summary import summarise_model
        >>> [row[0] for row in size_table("net", summarise_model([], [], [10, 100])).rows]
        ['below 10', '10 to 100', '100 or more']
    """
    rows = []
    for true, pred in zip(model["strata"], model["false_strata"], strict=True):
        found = {**true, "value": true["sensitivity"]}
        rows.append(
            [
                bounds_text(true["from_mm3"], true["to_mm3"]),
                f"{true['n_detected']} of {true['n_true']}",
                *rate_texts(found),
                f"{pred['n_false']} of {pred['n_pred']}",
                number(pred["n_false_per_case"], 2),
            ]
        )
    columns = ["Volume (mm³)", "Detected", "Sensitivity [exact]", "[by case]", "False", "False a case"]
    note = "Detected: of the reference's lesions of that volume. False: of the predicted lesions of that volume."
    return Table(f"By lesion volume: {name}", columns, rows, note)


def froc_table(froc: Mapping[str, Any], masks: tuple[float, float] | None = None) -> Table:
    """The operating points of a FROC curve, and that of the binary masks.

    Args:
        froc: from ``froc_of``.
        masks: false lesions a case and sensitivity of the masks, from ``masks_point``.

    Example:
        >>> point = {"fp_per_case": 0.5, "sensitivity": 0.25, "from_threshold": 0.9, "reached_fp_per_case": 0.0,
        ...          "reached_sensitivity": 0.2}
        >>> froc_table({"score": 0.25, "threshold": 0.1, "operating_points": [point]}).rows
        [['0.5', '0.250', '0.9', '0', '0.200']]
    """
    rows = [
        [
            f"{point['fp_per_case']:g}",
            number(point["sensitivity"], 3),
            "-" if math.isnan(point["from_threshold"]) else f"{point['from_threshold']:.3g}",
            f"{point['reached_fp_per_case']:.3g}",
            number(point["reached_sensitivity"], 3),
        ]
        for point in froc["operating_points"]
    ]
    if masks is not None:
        rows.append([f"{masks[0]:.3g}, the masks that were scored", number(masks[1], 3), "-", "-", "-"])
    columns = [
        "False lesions a case",
        "Sensitivity (on the curve)",
        "Threshold",
        "False a case there",
        "Sensitivity there",
    ]
    note = (
        f"Mean sensitivity on the curve: {number(froc['score'], 3)}. On the curve, values between two thresholds are "
        "on the line between them. The threshold is the lowest that makes no more false lesions than the first column "
        "says, with what it makes: a candidate counts from its largest probability on, and reaches down to "
        f"{froc['threshold']:g} whatever the threshold. - : no threshold makes so few."
    )
    return Table("FROC: operating points", columns, rows, note)


def _name(metric: Metric) -> str:
    return f"{metric.title} ({metric.unit})" if metric.unit else metric.title
