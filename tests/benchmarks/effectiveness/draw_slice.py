"""One slice as the networks of several rows see it: found, missed and false lesions.

The case is the one with the median difference in lesion F1 between InstanceLoss and DiceCE, and the slice that with
most lesions, so that neither is chosen for what it shows.

python tests/benchmarks/effectiveness/draw_slice.py --work runs/effectiveness
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pandas as pd
from compare import BASELINE
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from regimes import REGIMES
from run import RESULTS, ROOT, file_name, stored_cases
from score_one import SPACING_MM, Case, one_to_one, overlaps
from train_one import load

FOUND = {"colors": "#4ddb7a", "linewidths": 1.2}
MISSED = {"colors": "#ffa31a", "linewidths": 2.0}
FALSE = {"colors": "#6cc8ff", "linewidths": 1.4, "linestyles": "dashed"}


def median_case(cases: pd.DataFrame, row: str) -> str:
    """The test case with lesions whose difference in F1 from the baseline is the median one."""
    wide = cases[cases.true > 0].pivot(index="case", columns="row", values="one_f1")
    apart = (wide[row] - wide[BASELINE]).dropna().sort_values()
    return str(apart.index[len(apart) // 2])


def maps(case: Case, cut: int, smallest: int) -> dict[str, NDArray[np.bool_]]:
    """Where found and missed lesions and false predictions are, one-to-one; bool (X, Y, Z)."""
    pred, table = overlaps(case, cut)
    kept = table.select(table.pred_voxels[table.pred_id - 1] >= smallest)
    pairs = one_to_one(kept)
    true, guess = case.true.labels[0, 0].numpy(), pred.labels[0, 0].numpy()
    large = np.flatnonzero(table.pred_voxels.numpy() >= smallest) + 1
    found, right = pairs.true_id.numpy(), pairs.pred_id.numpy()
    return {
        "found": np.isin(true, found),
        "missed": (true > 0) & ~np.isin(true, found),
        "right": np.isin(guess, right),
        "false": np.isin(guess, np.setdiff1d(large, right)),
    }


def draw(image: NDArray[np.float32], panels: dict[str, dict[str, NDArray[np.bool_]]], at: int, title: str) -> Figure:
    """The slice alone and as each row sees it, the patient's right on the left."""
    figure, axes = plt.subplots(1, len(panels) + 1, figsize=(3.1 * (len(panels) + 1), 4.6), layout="constrained")
    low, high = np.percentile(image[image > image.min()], (1, 99.7))
    x_mm, y_mm = image.shape[0] * SPACING_MM[0], image.shape[1] * SPACING_MM[1]
    for axis in axes:
        axis.imshow(image.T, cmap="gray", vmin=low, vmax=high, origin="lower", extent=(0, x_mm, 0, y_mm))
        axis.set(xlim=(x_mm, 0), xticks=[], yticks=[])
    axes[0].set_title(f"{title}\nFLAIR", fontsize=10)
    for axis, (name, parts) in zip(axes[1:], panels.items(), strict=True):
        for part, style in (("found", FOUND), ("missed", MISSED), ("false", FALSE)):
            _outline(axis, parts[part][:, :, at], style, (x_mm, y_mm))
        axis.set_title(name, fontsize=10)
    handles = [
        Line2D([], [], color=FOUND["colors"], label="lesion found"),
        Line2D([], [], color=MISSED["colors"], linewidth=2, label="lesion missed"),
        Line2D([], [], color=FALSE["colors"], linestyle="dashed", label="false prediction"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _outline(axis: Axes, mask: NDArray[np.bool_], style: dict, extent: tuple[float, float]) -> None:
    if mask.any():
        # each voxel as 4 x 4 points, so that the line runs along its edges
        fine = np.kron(mask.T, np.ones((4, 4)))
        axis.contour(fine, levels=[0.5], origin="lower", extent=(0, extent[0], 0, extent[1]), **style)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regime", default="wmh")
    parser.add_argument("--rows", nargs="+", default=["DiceCE", "blob", "CC", "BiCC", "InstanceLoss"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "effectiveness")
    options = parser.parse_args()
    cases = pd.read_csv(RESULTS / "cases.csv", dtype={"point": str})
    cases = cases[(cases.regime == options.regime) & (cases.seed == options.seed) & (cases.point == "chosen")]
    name = median_case(cases, "InstanceLoss")
    files = [case for case in REGIMES[options.regime].cases(options.work)["test"] if case["case"] == name]
    image = load(files)[0]["image"][0].numpy()
    panels = {}
    for row in options.rows:
        line = cases[
            (cases.row == row) & (cases.seed == options.seed) & (cases.point == "chosen") & (cases.case == name)
        ]
        point = round(float(line.threshold.iloc[0]) * 200), int(line.smallest.iloc[0])
        stored = options.work / options.regime / file_name(row) / f"seed{options.seed}.npz"
        (case,) = stored_cases(stored, "test", files)
        counts = f"{int(line.one_missed.iloc[0])} missed, {int(line.one_false.iloc[0])} false in the case"
        panels[f"{row}\n{counts}"] = maps(case, *point)
        number_in = [len(np.unique(case.true.labels[0, 0, :, :, z])) for z in range(image.shape[2])]
    at = int(np.argmax(number_in))
    figure = draw(image[:, :, at], panels, at, f"{name}, slice {at + 1}")
    figure.savefig(RESULTS / f"{options.regime}_slice.png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
