"""From the scores of cases to the numbers of a paper: means, sensitivity by volume, agreement, comparisons."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from monai_instance_loss.evaluation.case import CaseResult, CaseScores
from monai_instance_loss.evaluation.statistics import (
    agreement,
    mean_estimate,
    paired_test,
    ratio_estimate,
    wilson_interval,
)
from monai_instance_loss.metrics.froc import InstanceFROC

__all__ = ["METRICS", "Metric", "compare_models", "froc_of", "summarise_model", "volume_strata"]


@dataclass(frozen=True)
class Metric:
    """How a score is shown.

    Attributes:
        field: its name in ``CaseScores``.
        title: its name for readers.
        unit: empty where it has none.
        digits: decimals to show.
        higher_is_better: which way is better.
    """

    field: str
    title: str
    unit: str
    digits: int
    higher_is_better: bool


METRICS = (
    Metric("dice", "Dice", "", 3, True),
    Metric("h95_mm", "H95", "mm", 2, False),
    Metric("avd_percent", "AVD", "%", 1, False),
    Metric("recall", "Lesion recall", "", 3, True),
    Metric("precision", "Lesion precision", "", 3, True),
    Metric("f1", "Lesion F1", "", 3, True),
    Metric("pq", "Panoptic quality", "", 3, True),
    Metric("n_missed", "Missed lesions", "a case", 2, False),
    Metric("n_false", "False lesions", "a case", 2, False),
)


def summarise_model(
    scores: Sequence[CaseScores], lesions: Iterable[Mapping[str, Any]], edges_mm3: Sequence[float], seed: int = 0
) -> dict[str, Any]:
    """Means over cases, rates over all lesions, sensitivity by volume and agreement of one model.

    Source: ours. NaN scores are left out; each mean says how many cases went into it.

    Args:
        scores: of each case.
        lesions: rows of ``score_masks`` of the same cases.
        edges_mm3: see ``volume_strata``.
        seed: of the bootstrap.

    Returns:
        ``cases``; ``scores``, by metric: mean, its 95 % interval ``low``, ``high``, ``sd``, ``median`` and ``n``;
        ``lesions``, numbers of all cases together, and ``sensitivity`` and ``precision`` with their intervals;
        ``strata``; ``agreement`` of counts and of volumes in ml.

    Example:
        >>> summarise_model([], [], [10.0])["lesions"]["n_true"]
        0
    """
    rows = list(lesions)
    true, pred = ([row for row in rows if row["side"] == side] for side in ("reference", "prediction"))
    n_missed, n_false = (sum(getattr(case, name) for case in scores) for name in ("n_missed", "n_false"))
    return {
        "cases": len(scores),
        "scores": {metric.field: _mean([getattr(case, metric.field) for case in scores], seed) for metric in METRICS},
        "lesions": {
            "n_true": len(true),
            "n_pred": len(pred),
            "n_missed": n_missed,
            "n_false": n_false,
            "sensitivity": _rate([(case.n_true - case.n_missed, case.n_true) for case in scores], seed),
            "precision": _rate([(case.n_pred - case.n_false, case.n_pred) for case in scores], seed),
        },
        "strata": volume_strata(true, edges_mm3, seed),
        "agreement": {
            name: agreement(
                *([getattr(case, f"{stem}_{side}{unit}") for case in scores] for side in ("true", "pred"))
            )._asdict()
            for name, stem, unit in (("lesion_count", "n", ""), ("volume_ml", "volume", "_ml"))
        },
    }


def volume_strata(
    lesions: Iterable[Mapping[str, Any]], edges_mm3: Sequence[float], seed: int = 0
) -> list[dict[str, Any]]:
    """Sensitivity to the lesions of each stratum of volume, in [0, 1], NaN where there are none.

    Source: ours. Stratum k holds volumes from edge k - 1, inclusive, up to edge k; one that falls short of an edge by
    a millionth counts as on it, as in the metrics.

    Args:
        lesions: rows of ``score_masks`` of the reference's side.
        edges_mm3: increasing volumes.
        seed: of the bootstrap.

    Returns:
        One dictionary a stratum: its bounds (0 and None at the ends), ``n_true``, ``n_detected``, ``sensitivity``,
        ``low`` and ``high`` after Wilson, ``low_by_case`` and ``high_by_case`` by resampling cases, and the geometric
        mean of the volumes.

    Example:
        >>> lesions = [{"case": "a", "volume_mm3": 8.0, "status": "missed"},
        ...            {"case": "b", "volume_mm3": 10.0, "status": "detected"}]
        >>> [(stratum["n_true"], stratum["sensitivity"]) for stratum in volume_strata(lesions, [10.0])]
        [(1, 0.0), (1, 1.0)]
    """
    rows = list(lesions)
    volumes = np.array([row["volume_mm3"] for row in rows], dtype=np.float64)
    index = np.searchsorted(np.asarray(edges_mm3), volumes * (1 + 1e-6), side="right")
    strata = []
    for k, (low, high) in enumerate(zip((0.0, *edges_mm3), (*edges_mm3, None), strict=True)):
        own = [row for row, stratum in zip(rows, index, strict=True) if stratum == k]
        by_case: dict[str, list[int]] = {}
        for row in own:
            tally = by_case.setdefault(row["case"], [0, 0])
            tally[0] += row["status"] == "detected"
            tally[1] += 1
        rate = _rate(list(by_case.values()), seed)
        strata.append(
            {
                "from_mm3": low,
                "to_mm3": high,
                "n_true": len(own),
                "n_detected": sum(detected for detected, _ in by_case.values()),
                "sensitivity": rate.pop("value"),
                **rate,
                "geometric_mean_mm3": float(np.exp(np.log(volumes[index == k]).mean())) if own else math.nan,
            }
        )
    return strata


def compare_models(first: Sequence[CaseScores], second: Sequence[CaseScores], seed: int = 0) -> dict[str, Any]:
    """Second minus first on the cases scored for both: mean difference, bootstrap interval, Wilcoxon's test.

    Source: see ``paired_test``.

    Returns:
        ``cases``, how many both have, and ``scores``, by metric: ``difference``, ``low``, ``high``, ``n``,
        ``statistic`` and ``p_value``, which is not adjusted for the number of tests.

    Example:
        >>> compare_models([], [])["cases"]
        0
    """
    others = {case.case: case for case in second}
    pairs = [(case, others[case.case]) for case in first if case.case in others]
    compared = {}
    for metric in METRICS:
        before, after = ([getattr(pair[k], metric.field) for pair in pairs] for k in (0, 1))
        test = paired_test(before, after, seed)
        value, low, high, n = test.difference
        compared[metric.field] = {
            "difference": value, "low": low, "high": high, "n": n,
            "statistic": test.statistic, "p_value": test.p_value,
        }  # fmt: skip
    return {"cases": len(pairs), "scores": compared}


def froc_of(results: Iterable[CaseResult]) -> dict[str, Any] | None:
    """The FROC curve over all cases with a probability map; None without one.

    Source: see ``InstanceFROC``, whose defaults these are.

    Returns:
        ``cases``, ``threshold``, ``fp_per_case`` and the ``sensitivity`` at each, their mean ``score``, and the curve
        as ``curve_fp_per_case`` and ``curve_sensitivity``.

    Example:
        >>> froc_of([]) is None
        True
    """
    import torch

    rows = [result.froc for result in results if result.froc is not None]
    if not rows:
        return None
    metric = InstanceFROC()
    metric.extend(torch.from_numpy(np.concatenate(rows)))
    rates, found = metric.curve()
    return {
        "cases": len(rows),
        "threshold": metric.threshold,
        "fp_per_case": list(metric.fp_per_case),
        "sensitivity": metric.sensitivities()[0].tolist(),
        "score": float(metric.sensitivities()[0].mean()),
        "curve_fp_per_case": rates.tolist(),
        "curve_sensitivity": found.tolist(),
    }


def _mean(values: Sequence[float], seed: int) -> dict[str, float]:
    estimate = mean_estimate(values, seed)
    kept = np.asarray(values, dtype=np.float64)
    kept = kept[~np.isnan(kept)]
    return {
        "mean": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "sd": float(kept.std(ddof=1)) if kept.size > 1 else math.nan,
        "median": float(np.median(kept)) if kept.size else math.nan,
        "n": estimate.n,
    }


def _rate(tallies: Sequence[Sequence[int]], seed: int) -> dict[str, Any]:
    """A rate over all lesions with both intervals; ``tallies`` are (part, whole) of each case."""
    parts, wholes = ([tally[k] for tally in tallies] for k in (0, 1))
    by_case = ratio_estimate(parts, wholes, seed)
    low, high = wilson_interval(sum(parts), sum(wholes))
    return {
        "value": by_case.value,
        "low": low,
        "high": high,
        "low_by_case": by_case.low,
        "high_by_case": by_case.high,
    }
