"""Rates over all lesions, of each stratum of volume, and lesions that were run together or broken up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_instance_loss.evaluation.statistics import exact_interval, ratio_estimate

__all__ = ["false_strata", "merges_and_splits", "pooled_rate", "volume_strata"]


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
        One dictionary a stratum: its bounds (0 and None at the ends), ``n_true``, ``n_detected``, ``sensitivity`` and
        its intervals, see ``pooled_rate``, and the geometric mean of the volumes.

    Example:
        >>> lesions = [{"case": "a", "volume_mm3": 8.0, "status": "missed"},
        ...            {"case": "b", "volume_mm3": 10.0, "status": "detected"}]
        >>> [(stratum["n_true"], stratum["sensitivity"]) for stratum in volume_strata(lesions, [10.0])]
        [(1, 0.0), (1, 1.0)]
    """
    strata = []
    for low, high, own, volumes in _split(lesions, edges_mm3):
        by_case: dict[str, list[int]] = {}
        for row in own:
            tally = by_case.setdefault(row["case"], [0, 0])
            tally[0] += row["status"] == "detected"
            tally[1] += 1
        rate = pooled_rate(list(by_case.values()), seed)
        strata.append(
            {
                "from_mm3": low,
                "to_mm3": high,
                "n_true": len(own),
                "n_detected": sum(detected for detected, _ in by_case.values()),
                "sensitivity": rate.pop("value"),
                **rate,
                "geometric_mean_mm3": float(np.exp(np.log(volumes).mean())) if own else math.nan,
            }
        )
    return strata


def false_strata(
    lesions: Iterable[Mapping[str, Any]], edges_mm3: Sequence[float], cases: int, seed: int = 0
) -> list[dict[str, Any]]:
    """False lesions of each stratum of volume: how many, and how many a case.

    Source: ours. Strata are those of ``volume_strata``.

    Args:
        lesions: rows of ``score_masks`` of the prediction's side.
        edges_mm3: increasing volumes.
        cases: how many cases were scored, with and without lesions.
        seed: of the bootstrap.

    Returns:
        One dictionary a stratum: its bounds (0 and None at the ends), ``n_pred``, ``n_false``, ``n_false_per_case``,
        NaN without a case, and ``precision`` with its intervals, see ``pooled_rate``.

    Example:
        >>> lesions = [{"case": "a", "volume_mm3": 8.0, "status": "false"},
        ...            {"case": "b", "volume_mm3": 9.0, "status": "matched"}]
        >>> [(stratum["n_pred"], stratum["n_false_per_case"]) for stratum in false_strata(lesions, [10.0], 4)]
        [(2, 0.25), (0, 0.0)]
    """
    strata = []
    for low, high, own, _ in _split(lesions, edges_mm3):
        by_case: dict[str, list[int]] = {}
        for row in own:
            tally = by_case.setdefault(row["case"], [0, 0])
            tally[0] += row["status"] != "false"
            tally[1] += 1
        n_false = len(own) - sum(matched for matched, _ in by_case.values())
        rate = pooled_rate(list(by_case.values()), seed)
        strata.append(
            {
                "from_mm3": low,
                "to_mm3": high,
                "n_pred": len(own),
                "n_false": n_false,
                "n_false_per_case": n_false / cases if cases else math.nan,
                "precision": rate.pop("value"),
                **rate,
            }
        )
    return strata


def merges_and_splits(lesions: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many predicted lesions match several of the reference (merges), and the other way round (splits).

    Source: ours. With one-to-one matching there are none.

    Args:
        lesions: rows of ``score_masks`` of both sides.

    Returns:
        ``n_merges``, predicted lesions with two or more of the reference, ``n_merged``, the lesions of the reference in
        them, ``n_splits``, lesions of the reference with two or more predicted ones, and ``n_pieces``, those.

    Example:
        >>> merges_and_splits([{"side": "prediction", "case": "a", "id": 1, "partners": "1 2"}])
        {'n_merges': 1, 'n_merged': 2, 'n_splits': 0, 'n_pieces': 0}
    """
    joined: dict[str, list[set[tuple[str, str]]]] = {"prediction": [], "reference": []}
    for row in lesions:
        partners = {(row["case"], partner) for partner in row["partners"].split()}
        if len(partners) > 1:
            joined[row["side"]].append(partners)
    merges, splits = joined["prediction"], joined["reference"]
    return {
        "n_merges": len(merges),
        "n_merged": len(set().union(*merges)),
        "n_splits": len(splits),
        "n_pieces": len(set().union(*splits)),
    }


def pooled_rate(tallies: Sequence[Sequence[int]], seed: int = 0) -> dict[str, Any]:
    """A rate over all lesions of all cases, in [0, 1], with two intervals; NaN without a lesion.

    Source: ``exact_interval``, which takes lesions for independent, and ``ratio_estimate``, which draws whole cases.

    Args:
        tallies: (part, whole) of each case.
        seed: of the bootstrap.

    Returns:
        ``value``; ``low`` and ``high``, exact; ``low_by_case``, ``high_by_case`` and the method ``interval_by_case``.

    Example:
        >>> rate = pooled_rate([(6, 6), (6, 6)])
        >>> rate["value"], round(rate["low"], 3), rate["interval_by_case"]
        (1.0, 0.735, 'none: n < 10')
    """
    parts, wholes = ([tally[k] for tally in tallies] for k in (0, 1))
    by_case = ratio_estimate(parts, wholes, seed)
    low, high = exact_interval(sum(parts), sum(wholes))
    return {
        "value": by_case.value,
        "low": low,
        "high": high,
        "low_by_case": by_case.low,
        "high_by_case": by_case.high,
        "interval_by_case": by_case.interval,
    }


def _split(
    lesions: Iterable[Mapping[str, Any]], edges_mm3: Sequence[float]
) -> list[tuple[float, float | None, list[Mapping[str, Any]], NDArray[np.float64]]]:
    """The bounds of each stratum, its rows and their volumes."""
    rows = list(lesions)
    volumes = np.array([row["volume_mm3"] for row in rows], dtype=np.float64)
    index = np.searchsorted(np.asarray(edges_mm3), volumes * (1 + 1e-6), side="right")
    bounds = zip((0.0, *edges_mm3), (*edges_mm3, None), strict=True)
    return [
        (low, high, [row for row, stratum in zip(rows, index, strict=True) if stratum == k], volumes[index == k])
        for k, (low, high) in enumerate(bounds)
    ]
