"""Differences between rows, with intervals and tests, from the stored tables alone."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

BASELINE = "DiceCE"
METRICS = (
    "one_f1", "one_sensitivity", "one_precision", "one_missed", "one_false",
    "touch_f1", "touch_sensitivity", "touch_precision", "touch_missed", "touch_false",
    "dice", "cc_dice", "pq", "merged", "split",
)  # fmt: skip
BUDGETS = (0.5, 1.0, 2.0, 4.0, 8.0)
RESAMPLES = 2000


def grid(cases: pd.DataFrame, row: str, metric: str) -> pd.DataFrame:
    """Seeds down, cases across."""
    return cases[cases.row == row].pivot(index="seed", columns="case", values=metric)


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Mean of (seeds, cases) and its 95 % interval, leaving out NaN.

    Seeds are drawn, then cases, the same ones for every seed drawn, as every seed sees the same patients: a draw of
    new cases for each seed would take 5 seeds of 32 patients for 160 patients.
    """
    rng = np.random.default_rng(seed)
    mean = _mean(values)
    if values.shape[0] < 2:
        return mean, math.nan, math.nan
    drawn = [
        _mean(values[np.ix_(rng.integers(0, n_seeds, n_seeds), rng.integers(0, n_cases, n_cases))])
        for n_seeds, n_cases in [values.shape] * RESAMPLES
    ]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return mean, float(low), float(high)


def _mean(values: np.ndarray) -> float:
    """Mean over cases of the mean over seeds, without a warning where nothing can be scored."""
    known = ~np.isnan(values)
    counted = known.sum(0)
    by_case = np.where(known, values, 0).sum(0)[counted > 0] / counted[counted > 0]
    return float(by_case.mean()) if by_case.size else math.nan


def difference(cases: pd.DataFrame, row: str, other: str, metric: str) -> dict[str, float]:
    """Row less other, over the seeds and cases that both have, with the interval and Wilcoxon's p over cases."""
    mine, theirs = grid(cases, row, metric).align(grid(cases, other, metric), join="inner")
    apart = (mine - theirs).to_numpy(dtype=float)
    mean, low, high = interval(apart) if apart.size else (math.nan,) * 3
    by_case = pd.DataFrame(apart).mean(axis=0).dropna()
    p = float(stats.wilcoxon(by_case).pvalue) if by_case.any() else 1.0
    return {"mean": mean, "low": low, "high": high, "p": p, "seeds": int(mine.shape[0])}


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p values."""
    order = sorted(p_values, key=lambda name: p_values[name])
    adjusted, largest = {}, 0.0
    for rank, name in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[name]))
        adjusted[name] = largest
    return adjusted


def budgets(curves: pd.DataFrame, row: str, rule: str) -> dict[float, float]:
    """Sensitivity over all lesions of the test cases at numbers of false predictions a case, mean of the seeds.

    At each number it is the largest of the cuts that keep it, so that a curve which turns back costs nothing.
    """
    result = {}
    totals = cut_totals(curves, row, rule)
    for allowed in BUDGETS:
        kept = totals[totals.false <= allowed]
        best = kept.groupby("seed").sensitivity.max().reindex(totals.seed.unique(), fill_value=0.0)
        result[allowed] = float(best.mean())
    return result


def cut_totals(curves: pd.DataFrame, row: str, rule: str) -> pd.DataFrame:
    """For each seed and cut: sensitivity over all test lesions, missed and false a case."""
    mine = curves[(curves.row == row) & (curves.part == "test")]
    group = mine.groupby(["seed", "threshold"])
    total = group[["true", f"{rule}_found", f"{rule}_false"]].sum()
    cases = group.size()
    return pd.DataFrame(
        {
            "sensitivity": total[f"{rule}_found"] / total.true,
            "missed": (total.true - total[f"{rule}_found"]) / cases,
            "false": total[f"{rule}_false"] / cases,
        }
    ).reset_index()


def missed_at_false(curves: pd.DataFrame, row: str, rule: str, allowed: Mapping[int, float]) -> float:
    """Missed a case at no more false a case than ``allowed`` for the seed, mean of the seeds."""
    totals = cut_totals(curves, row, rule)
    best = [part[part.false <= allowed[seed]].missed.min() for seed, part in totals.groupby("seed") if seed in allowed]
    return float(np.mean(best)) if best else math.nan


def steps_to_baseline(runs: list[Mapping], row: str) -> list[float]:
    """For each seed: steps to the baseline's last validation F1, as a share of all steps; inf where never."""
    curves = {(run["row"], run["seed"]): run["curve"] for run in runs if "curve" in run}
    result = []
    for (name, seed), curve in sorted(curves.items()):
        if name == row and (BASELINE, seed) in curves:
            goal, last = curves[BASELINE, seed][-1]["f1"], curve[-1]["step"]
            result.append(next((look["step"] / last for look in curve if look["f1"] >= goal), math.inf))
    return result


def summarise(cases: pd.DataFrame, curves: pd.DataFrame, runs: list[Mapping]) -> dict[str, object]:
    """Everything that is said of one regime: each row alone, and against the baseline."""
    summary: dict[str, object] = {}
    chosen = cases[cases.point == "chosen"]
    rows = [name for name in dict.fromkeys(run["row"] for run in runs) if name in set(cases.row)]
    tests: dict[str, dict[str, dict[str, float]]] = {}
    false = cut_false(chosen, BASELINE)
    for row in rows:
        entry: dict[str, object] = {"seeds": int(chosen[chosen.row == row].seed.nunique())}
        for point, part in cases.groupby("point"):
            entry[point] = {name: interval(grid(part, row, name).to_numpy(float)) for name in METRICS}
        for rule in ("touch", "one"):
            entry[f"{rule}_sensitivity_at"] = budgets(curves, row, rule)
            entry[f"{rule}_missed_at_baseline_false"] = missed_at_false(curves, row, rule, false[rule])
        entry["sensitivity_by_volume"] = by_volume(chosen, row)
        empty = chosen[(chosen.row == row) & (chosen.true == 0)]
        entry["false_on_lesion_free"] = interval(grid(empty, row, "one_false").to_numpy(float)) if len(empty) else None
        entry["steps_to_baseline"] = steps_to_baseline(runs, row)
        if row != BASELINE:
            tests[row] = {name: difference(chosen, row, BASELINE, name) for name in METRICS}
        summary[row] = entry
    for name in METRICS:
        adjusted = holm({row: test[name]["p"] for row, test in tests.items()})
        for row in tests:
            tests[row][name]["p_holm"] = adjusted[row]
    return {"rows": summary, f"less {BASELINE}": tests}


def cut_false(chosen: pd.DataFrame, row: str) -> dict[str, dict[int, float]]:
    """False predictions a case of each seed at the chosen point, by rule."""
    mine = chosen[chosen.row == row].groupby("seed")
    return {rule: mine[f"{rule}_false"].mean().to_dict() for rule in ("touch", "one")}


def by_volume(chosen: pd.DataFrame, row: str) -> dict[str, list[float]]:
    """Sensitivity in each bin of lesion volume, by rule, over all seeds and cases."""
    mine = chosen[chosen.row == row]
    bins = sorted(name for name in mine if name.startswith("true_bin"))
    return {
        rule: [
            float(mine[f"{rule}_found_{name[5:]}"].sum() / mine[name].sum()) if mine[name].sum() else math.nan
            for name in bins
        ]
        for rule in ("touch", "one")
    }
