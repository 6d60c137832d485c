"""Do operating points keep on test cases what they promise on validation cases? From the stored curves alone.

Budgets: on the validation cases the threshold with most lesions found, one-to-one, at no more false lesions a case than
the budget; then the false lesions a case on test cases of the same scanners, and of the one that no network saw, with
95 % intervals over cases. Conformal: 1000 random splits of validation and test cases into one half that chooses the
threshold and one that sees what is missed, by touch.

python tests/benchmarks/effectiveness/budgets.py
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from regimes import UNSEEN
from report import RESULTS

from monai_instance_loss.evaluation.statistics import mean_estimate
from monai_instance_loss.operating_points import conformal_index

BUDGETS = (1.0, 2.0, 4.0, 8.0, 16.0)
ALPHAS = (0.3, 0.4, 0.5)
SPLITS = 1000


def wide(curve: pd.DataFrame, part: str, column: str) -> NDArray[np.float64]:
    """(cases, thresholds) of one run, thresholds rising."""
    mine = curve[curve.part == part] if part else curve
    return mine.pivot(index="case", columns="threshold", values=column).to_numpy(float)


def within_budget(curve: pd.DataFrame, budget: float) -> list[dict[str, object]]:
    """False lesions a case on test cases at the validation cases' threshold; nothing where none keeps the budget."""
    found, false, true = (wide(curve, "val", name) for name in ("one_found", "one_false", "true"))
    kept = np.flatnonzero(false.mean(0) <= budget)
    if not kept.size:
        return []
    best = max(kept, key=lambda k: (found[:, k].sum() / true[:, k].sum(), -false[:, k].mean()))
    unseen = curve.case.str.startswith(UNSEEN)
    rows: list[dict[str, object]] = []
    for scanner, part in (("same", curve[~unseen]), ("unseen", curve[unseen])):
        estimate = mean_estimate(wide(part, "test", "one_false")[:, best])
        numbers = {"false": estimate.value, "low": estimate.low, "high": estimate.high}
        rows.append({"budget": budget, "scanner": scanner, **numbers})
    return rows


def conformal_risk(curve: pd.DataFrame, alpha: float, rng: np.random.Generator) -> float:
    """Mean part of missed lesions over ``SPLITS`` splits; NaN where the lowest threshold does not keep ``alpha``."""
    true, found = wide(curve, "", "true"), wide(curve, "", "touch_found")
    losses = np.where(true > 0, 1 - found / np.maximum(true, 1), 0.0)
    risks = []
    for _ in range(SPLITS):
        order = rng.permutation(len(losses))
        half = len(losses) // 2
        try:
            index = conformal_index(losses[order[:half]], alpha)
        except ValueError:
            return math.nan
        risks.append(losses[order[half:], index].mean())
    return float(np.mean(risks))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    curves = pd.read_csv(options.results / "curves.csv.gz")
    rng = np.random.default_rng(0)
    budgets, risks = [], []
    for (regime, row, seed), curve in curves.groupby(["regime", "row", "seed"]):
        run = {"regime": regime, "row": row, "seed": int(seed)}
        budgets += [{**run, **point} for budget in BUDGETS for point in within_budget(curve, budget)]
        for alpha in ALPHAS:
            risk = conformal_risk(curve, alpha, rng)
            if not math.isnan(risk):
                risks.append({**run, "alpha": alpha, "risk": round(risk, 4)})
    (options.results / "budgets.json").write_text(json.dumps({"budgets": budgets, "conformal": risks}, indent=1) + "\n")
    for (budget, scanner), points in pd.DataFrame(budgets).groupby(["budget", "scanner"]):
        kept = int((points.low <= budget).sum())
        print(
            f"budget {budget:g}, {scanner} scanner: {points.false.mean():.2f} false lesions a case, "
            f"within the interval {kept} of {len(points)}"
        )
    for alpha in ALPHAS:
        mine = [run["risk"] for run in risks if run["alpha"] == alpha]
        if mine:
            print(f"alpha {alpha}: risk {np.mean(mine):.3f}, {min(mine):.3f} to {max(mine):.3f} in {len(mine)} runs")


if __name__ == "__main__":
    main()
