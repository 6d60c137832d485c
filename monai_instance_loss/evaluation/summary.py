"""From the scores of cases to the numbers of a paper: means, sensitivity by volume, agreement, comparisons."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from monai_instance_loss.evaluation.case import CaseResult, CaseScores
from monai_instance_loss.evaluation.lesion_strata import false_strata, merges_and_splits, pooled_rate, volume_strata
from monai_instance_loss.evaluation.statistics import agreement, mean_estimate, paired_test
from monai_instance_loss.metrics.froc import InstanceFROC

__all__ = ["METRICS", "Metric", "compare_models", "froc_of", "masks_point", "summarise_model"]


@dataclass(frozen=True)
class Metric:
    """How a score is shown.

    Attributes:
        field: its name in ``CaseScores``.
        title: its name for readers.
        unit: empty where it has none.
        digits: decimals to show.
        higher_is_better: which way is better.
        needs_lesions: whether it scores only cases with a lesion in the reference.
    """

    field: str
    title: str
    unit: str
    digits: int
    higher_is_better: bool
    needs_lesions: bool = True


METRICS = (
    Metric("dice", "Dice", "", 3, True),
    Metric("h95_mm", "H95", "mm", 2, False),
    Metric("avd_percent", "AVD", "%", 1, False),
    Metric("recall", "Lesion recall", "", 3, True),
    Metric("precision", "Lesion precision", "", 3, True),
    Metric("f1", "Lesion F1", "", 3, True),
    Metric("pq", "Panoptic quality", "", 3, True),
    Metric("n_missed", "Missed lesions", "a case", 2, False, needs_lesions=False),
    Metric("n_false", "False lesions", "a case", 2, False, needs_lesions=False),
)


def summarise_model(
    scores: Sequence[CaseScores],
    lesions: Iterable[Mapping[str, Any]],
    edges_mm3: Sequence[float],
    seed: int = 0,
    *,
    lesion_free_apart: bool = True,
) -> dict[str, Any]:
    """Means over cases, rates over all lesions, sensitivity by volume and agreement of one model.

    Source: ours. NaN scores are left out; each mean says how many cases went into it. Cases without a lesion in the
    reference are apart: the reference alone decides which cases a mean is of, and not what a model predicts.

    Args:
        scores: of each case.
        lesions: rows of ``score_masks`` of the same cases.
        edges_mm3: see ``volume_strata``.
        seed: of the bootstrap.
        lesion_free_apart: whether cases without a lesion in the reference are left out of the means of all scores but
            numbers of lesions.

    Returns:
        ``cases``; ``scores``, by metric: mean, its 95 % interval ``low``, ``high``, ``interval``, how that was made,
        ``sd``, ``median`` and ``n``; ``lesions``, numbers of all cases together, and ``sensitivity`` and ``precision``,
        see ``pooled_rate``; ``lesion_free``, what was found in cases without a lesion; ``strata``, ``false_strata`` and
        ``merges_and_splits``; ``agreement`` of counts and of volumes in ml.

    Example:
        >>> summarise_model([], [], [10.0])["lesions"]["n_true"]
        0
    """
    rows = list(lesions)
    true, pred = ([row for row in rows if row["side"] == side] for side in ("reference", "prediction"))
    n_missed, n_false = (sum(getattr(case, name) for case in scores) for name in ("n_missed", "n_false"))
    return {
        "cases": len(scores),
        "scores": {
            metric.field: _mean([_score(case, metric, lesion_free_apart) for case in scores], seed)
            for metric in METRICS
        },
        "lesions": {
            "n_true": len(true),
            "n_pred": len(pred),
            "n_missed": n_missed,
            "n_false": n_false,
            "sensitivity": pooled_rate([(case.n_true - case.n_missed, case.n_true) for case in scores], seed),
            "precision": pooled_rate([(case.n_pred - case.n_false, case.n_pred) for case in scores], seed),
        },
        "lesion_free": _lesion_free([case for case in scores if not case.n_true]),
        "strata": volume_strata(true, edges_mm3, seed),
        "false_strata": false_strata(pred, edges_mm3, len(scores), seed),
        "merges_and_splits": merges_and_splits(rows),
        "agreement": {
            name: agreement(
                *([getattr(case, f"{stem}_{side}{unit}") for case in scores] for side in ("true", "pred"))
            )._asdict()
            for name, stem, unit in (("lesion_count", "n", ""), ("volume_ml", "volume", "_ml"))
        },
    }


def compare_models(
    first: Sequence[CaseScores], second: Sequence[CaseScores], seed: int = 0, *, lesion_free_apart: bool = True
) -> dict[str, Any]:
    """Second minus first on the cases scored for both: means, their difference, its interval, Wilcoxon's test.

    Source: see ``paired_test``.

    Args:
        first: scores of a model.
        second: scores of the other one.
        seed: of the bootstrap.
        lesion_free_apart: as in ``summarise_model``.

    Returns:
        ``cases``, how many both have, and ``scores``, by metric, of the ``n`` cases in which both have a number:
        ``mean_first``, ``mean_second``, ``difference``, ``low``, ``high``, ``interval``, ``statistic`` and ``p_value``,
        which is not adjusted for the number of tests.

    Example:
        >>> compare_models([], [])["cases"]
        0
    """
    others = {case.case: case for case in second}
    pairs = [(case, others[case.case]) for case in first if case.case in others]
    compared = {}
    for metric in METRICS:
        both = np.array([[_score(case, metric, lesion_free_apart) for case in pair] for pair in pairs]).reshape(-1, 2)
        both = both[~np.isnan(both).any(1)]
        test = paired_test(both[:, 0], both[:, 1], seed)
        value, low, high, n, interval = test.difference
        before, after = both.mean(0).tolist() if n else (math.nan, math.nan)
        compared[metric.field] = {
            "mean_first": before, "mean_second": after,
            "difference": value, "low": low, "high": high, "interval": interval, "n": n,
            "statistic": test.statistic, "p_value": test.p_value,
        }  # fmt: skip
    return {"cases": len(pairs), "scores": compared}


def froc_of(results: Iterable[CaseResult]) -> dict[str, Any] | None:
    """The FROC curve over all cases with a probability map; None without one.

    Source: see ``InstanceFROC``, whose defaults these are.

    Returns:
        ``cases``, ``threshold``, ``fp_per_case`` and the ``sensitivity`` at each, their mean ``score``, the curve as
        ``curve_fp_per_case``, ``curve_sensitivity`` and ``curve_threshold``, the lowest score of a candidate that
        counts, NaN at the end, where none does; and ``operating_points``: for each of ``fp_per_case`` the lowest
        threshold that makes no more false lesions, ``from_threshold``, NaN where none does, and what it makes,
        ``reached_fp_per_case`` and ``reached_sensitivity``.

    Example:
        >>> froc_of([]) is None
        True
    """
    import torch

    rows = [result.froc for result in results if result.froc is not None]
    if not rows:
        return None
    table = np.concatenate(rows)
    metric = InstanceFROC()
    metric.extend(torch.from_numpy(table))
    rates, found = metric.curve()
    scores = table[:, 3].astype(np.float64)
    # cases and missed lesions have a score of 0
    thresholds = np.append(np.unique(scores[scores > 0]), math.nan)
    sensitivity = metric.sensitivities()[0].tolist()
    # the curve begins with the lowest threshold
    reached = [int(np.argmax(rates <= rate)) for rate in metric.fp_per_case]
    return {
        "cases": len(rows),
        "threshold": metric.threshold,
        "fp_per_case": list(metric.fp_per_case),
        "sensitivity": sensitivity,
        "score": float(metric.sensitivities()[0].mean()),
        "curve_fp_per_case": rates.tolist(),
        "curve_sensitivity": found.tolist(),
        "curve_threshold": thresholds.tolist(),
        "operating_points": [
            {
                "fp_per_case": rate,
                "sensitivity": value,
                "from_threshold": float(thresholds[k]),
                "reached_fp_per_case": float(rates[k]),
                "reached_sensitivity": float(found[k]),
            }
            for rate, value, k in zip(metric.fp_per_case, sensitivity, reached, strict=True)
        ],
    }


def masks_point(model: Mapping[str, Any], froc: Mapping[str, Any]) -> tuple[float, float] | None:
    """False lesions a case and sensitivity of the binary masks; None where they are not of the cases of ``froc_of``.

    Example:
        >>> masks_point(summarise_model([], [], []), {"cases": 3}) is None
        True
    """
    if not model["cases"] or model["cases"] != froc["cases"]:
        return None
    return model["lesions"]["n_false"] / model["cases"], model["lesions"]["sensitivity"]["value"]


def _score(case: CaseScores, metric: Metric, lesion_free_apart: bool) -> float:
    apart = lesion_free_apart and metric.needs_lesions and not case.n_true
    return math.nan if apart else float(getattr(case, metric.field))


def _lesion_free(scores: Sequence[CaseScores]) -> dict[str, Any]:
    """What was found in cases without a lesion in the reference, all of it false."""
    n_cases, n_false = len(scores), sum(case.n_false for case in scores)
    return {
        "cases": n_cases,
        "cases_with_false": sum(case.n_false > 0 for case in scores),
        "n_false": n_false,
        "n_false_per_case": n_false / n_cases if n_cases else math.nan,
        "false_volume_ml_per_case": sum(case.volume_pred_ml for case in scores) / n_cases if n_cases else math.nan,
    }


def _mean(values: Sequence[float], seed: int) -> dict[str, Any]:
    estimate = mean_estimate(values, seed)
    kept = np.asarray(values, dtype=np.float64)
    kept = kept[~np.isnan(kept)]
    return {
        "mean": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "interval": estimate.interval,
        "sd": float(kept.std(ddof=1)) if kept.size > 1 else math.nan,
        "median": float(np.median(kept)) if kept.size else math.nan,
        "n": estimate.n,
    }
