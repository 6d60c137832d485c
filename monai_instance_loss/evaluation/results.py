"""From the results of all cases to what ``summary.json`` holds: a table a class, and their mean."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from monai_instance_loss._versions import installed_versions
from monai_instance_loss.evaluation.case import CaseResult, CaseScores
from monai_instance_loss.evaluation.pairing import Failure
from monai_instance_loss.evaluation.statistics import LEVEL, RESAMPLES
from monai_instance_loss.evaluation.summary import METRICS, compare_models, froc_of, summarise_model

__all__ = ["Results", "collect", "for_report", "summarise"]

# of a lesion, what the summary needs
_KEPT = ("side", "id", "case", "status", "volume_mm3", "partners")


@dataclass
class Results:
    """What the summary needs of all cases; lesions are cut down to that.

    Attributes:
        models: names of the models.
        labels: names of the classes; one that is empty where masks are binary.
        scores: of each model and class.
        lesions: of each model and class.
        frocs: results with nothing but the rows of the FROC curve.
        failures: what could not be scored.
        remarks: what is odd about files that were scored.
        found: labels in any label map.
        cases: the cases that have a score.
        seen: the cases that have a result.
    """

    models: Sequence[str]
    labels: Sequence[str]
    scores: dict[tuple[str, str], list[CaseScores]] = field(default_factory=dict)
    lesions: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    frocs: list[CaseResult] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    found: set[int] = field(default_factory=set)
    cases: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)


def collect(results: Iterable[CaseResult], models: Sequence[str], labels: Sequence[str]) -> Results:
    """Read the results of all cases, and keep of each what the summary needs.

    Example:
        >>> collect([], ["net"], [""]).scores
        {('net', ''): []}
    """
    keys = [(model, label) for label in labels for model in models]
    kept = Results(models, labels, {key: [] for key in keys}, {key: [] for key in keys})
    white: list[str] = []
    for result in results:
        kept.seen.add(result.case)
        for row in result.scores:
            kept.scores[row.model, row.label].append(row)
            kept.cases.add(row.case)
        for lesion in result.lesions:
            kept.lesions[lesion["model"], lesion["label"]].append({name: lesion[name] for name in _KEPT})
        if result.froc is not None:
            kept.frocs.append(CaseResult(result.case, froc=result.froc))
        kept.failures += result.failures
        kept.remarks += result.remarks
        kept.found.update(result.labels)
        white += result.white
    if white:
        masks = "1 mask" if len(white) == 1 else f"{len(white)} masks"
        kept.remarks.append(f"255 is read as 1 in {masks} of 0 and 255, of which the first is {white[0]}.")
    return kept


def summarise(
    results: Results,
    settings: Mapping[str, Any],
    failures: Sequence[Failure],
    skipped: Sequence[Failure],
    n_cases: int,
    command: str,
) -> dict[str, Any]:
    """What ``summary.json`` holds.

    Args:
        results: of all cases.
        settings: of the evaluation, with ``strata_mm3`` and ``seed``.
        failures: what was not scored.
        skipped: cases on one side only that were to be skipped.
        n_cases: how many cases there are.
        command: the command line.

    Returns:
        A nested dictionary. Of one class it has ``models``, ``froc`` and ``comparisons``; of several ``labels`` has
        these for each, and ``mean_over_labels`` the mean of the classes' means of each model.
    """
    tables = {label: _tables(results, label, settings) for label in results.labels}
    summary = {
        "command": command,
        "finished": datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": installed_versions(),
        "settings": {**settings, "bootstrap_resamples": RESAMPLES, "interval_level": LEVEL},
        "pairs": {
            "cases": n_cases,
            "scored": {model: len(results.scores[model, results.labels[0]]) for model in results.models},
            "failed": len(failures),
        },
        "failures": [asdict(failure) for failure in failures],
        "skipped": [asdict(failure) for failure in skipped],
        "warnings": results.remarks,
    }
    if len(tables) == 1:
        return summary | next(iter(tables.values()))
    means = {model: _mean_over(table["models"][model] for table in tables.values()) for model in results.models}
    return summary | {"labels": tables, "mean_over_labels": means}


def for_report(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The summary as the report takes it: a class of a model is a model of its own, and only scored cases count."""
    page = {**summary, "pairs": {**summary["pairs"], "cases": max(summary["pairs"]["scored"].values())}}
    if "labels" not in summary:
        return page
    page["models"], page["comparisons"], page["froc"] = {}, [], None
    for label, table in summary["labels"].items():
        page["models"] |= {f"{model}, {label}": entry for model, entry in table["models"].items()}
        page["comparisons"] += [
            {**entry, "model": f"{entry['model']}, {label}", "against": f"{entry['against']}, {label}"}
            for entry in table["comparisons"]
        ]
    return page


def _tables(results: Results, label: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    first, *others = results.models
    edges = settings["strata_mm3"]
    options = {"seed": settings["seed"], "lesion_free_apart": settings["empty"] == "exclude"}
    own = {model: results.scores[model, label] for model in results.models}
    return {
        "models": {
            model: summarise_model(rows, results.lesions[model, label], edges, **options) for model, rows in own.items()
        },
        "froc": froc_of(results.frocs),
        "comparisons": [
            {"model": other, "against": first, **compare_models(own[first], own[other], **options)} for other in others
        ],
    }


def _mean_over(tables: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The mean over classes of each score's mean over cases, of classes that have one."""
    tables = list(tables)
    means: dict[str, float] = {}
    for metric in METRICS:
        values = [table["scores"][metric.field]["mean"] for table in tables]
        known = [value for value in values if not math.isnan(value)]
        means[metric.field] = math.fsum(known) / len(known) if known else math.nan
    return means
