"""The figures of the effectiveness benchmark, from the stored tables alone.

python tests/benchmarks/effectiveness/draw.py --regime wmh
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pandas as pd
from compare import BASELINE, by_volume, cut_totals
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from score_one import VOLUME_EDGES_MM3

RESULTS = Path(__file__).resolve().parents[1] / "results" / "effectiveness"

# Okabe and Ito's colours, told apart by marker and line as well
STYLES = {
    "InstanceLoss": ("#0072B2", "o", "-"),
    "DiceCE": ("#000000", "s", "--"),
    "BiCC": ("#D55E00", "v", "-"),
    "CC": ("#E69F00", "^", "-"),
    "blob": ("#CC79A7", "D", "-"),
    "SoftF1": ("#009E73", "P", "-."),
}
RULES = {"touch": "by touch (WMH challenge)", "one": "one-to-one, IoU > 0.1 (BiCC's paper)"}


def style(row: str) -> dict[str, object]:
    """Colour, marker and line of a row."""
    colour, marker, line = STYLES[row]
    return {"color": colour, "marker": marker, "linestyle": line, "label": row, "markersize": 5}


def missed_against_false(cases: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """A curve a loss, thresholds along it, mean of the seeds; the point chosen on validation cases is large."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 5), layout="constrained", sharey=True)
    for axes, (rule, title) in zip(panels, RULES.items(), strict=True):
        for row in rows_of(cases):
            mean = cut_totals(curves, row, rule).groupby("threshold")[["missed", "false"]].mean()
            axes.plot(mean.false, mean.missed, **{**style(row), "markersize": 3}, linewidth=1.3)
            chosen = cases[(cases.row == row) & (cases.point == "chosen")]
            at = chosen[[f"{rule}_false", f"{rule}_missed"]].mean()
            axes.plot(*at, **{**style(row), "label": None, "markersize": 11, "linestyle": ""}, markeredgecolor="white")
        axes.set(title=title, xlabel="false lesions a case", xlim=(0, 30), ylim=(0, None))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("missed lesions a case")
    panels[0].legend(frameon=False, title="large: chosen on validation cases,\nsmall predictions left out")
    return figure


def sensitivity_by_volume(cases: pd.DataFrame) -> Figure:
    """Lesions found in each bin of volume, at the chosen point."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained", sharey=True)
    chosen = cases[cases.point == "chosen"]
    edges = [f"{edge:.0f}" for edge in VOLUME_EDGES_MM3]
    names = [f"< {edges[0]}", *(f"{a} to {b}" for a, b in pairwise(edges)), f"> {edges[-1]}"]
    for axes, (rule, title) in zip(panels, RULES.items(), strict=True):
        for row in rows_of(cases):
            axes.plot(names, by_volume(chosen, row)[rule], **style(row))
        axes.set(title=title, xlabel="lesion volume (mm$^3$)", ylim=(0, 1))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("part of the lesions found")
    panels[1].legend(frameon=False, loc="lower right")
    return figure


def f1_over_steps(cases: pd.DataFrame, runs: Sequence[dict]) -> Figure:
    """Validation F1 at a cut of 0.5: mean of the seeds and their range."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for row in rows_of(cases):
        curves = [run["curve"] for run in runs if run["row"] == row and "curve" in run]
        steps = [look["step"] for look in curves[0]]
        f1 = np.array([[look["f1"] for look in curve] for curve in curves], dtype=float)
        axes.plot(steps, f1.mean(0), **style(row))
        axes.fill_between(steps, f1.min(0), f1.max(0), color=STYLES[row][0], alpha=0.12, linewidth=0)
    _label_steps(axes)
    return figure


def _label_steps(axes: Axes) -> None:
    axes.set(xlabel="training steps", ylabel="lesion F1, one-to-one, IoU > 0.1", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, title="validation cases; band: range of the seeds")


def rows_of(cases: pd.DataFrame) -> list[str]:
    """The rows that have a style, in its order."""
    return [row for row in STYLES if row in set(cases.row)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regime", default="wmh")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    cases, curves = (pd.read_csv(options.results / name) for name in ("cases.csv", "curves.csv.gz"))
    cases, curves = cases[cases.regime == options.regime], curves[curves.regime == options.regime]
    runs = [
        run
        for run in json.loads((options.results / "runs.json").read_text())["runs"]
        if run["regime"] == options.regime
    ]
    # the same seeds for all, and no row of a single one
    seeds = {run["seed"] for run in runs if run["row"] == BASELINE}
    several = cases[cases.seed.isin(seeds)].groupby("row").seed.nunique() > 1
    rows = list(several[several].index)
    cases, curves = (part[part.seed.isin(seeds) & part.row.isin(rows)] for part in (cases, curves))
    runs = [run for run in runs if run["seed"] in seeds]
    figures = {
        "missed_against_false": missed_against_false(cases, curves),
        "sensitivity_by_volume": sensitivity_by_volume(cases),
        "f1_over_steps": f1_over_steps(cases, runs),
    }
    for name, figure in figures.items():
        figure.savefig(options.results / f"{options.regime}_{name}.png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
