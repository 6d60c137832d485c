"""The figure of the speed suite: losses against the number of lesions, labelling by method.

python tests/benchmarks/plots.py tests/benchmarks/results/speed_cpu.json --out tests/benchmarks/results/speed_cpu.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from cases import NAMES
from labelling_speed import COPY
from labelling_speed import OURS as LABELLING
from loss_speed import ALL_TERMS, BASELINE, DENSE, FROM_MAP, LOOPED, OURS, VORONOI
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by marker and line as well
LOSSES = {
    OURS: ("#0072B2", "o", "-"),
    FROM_MAP: ("#56B4E9", "s", "--"),
    ALL_TERMS: ("#009E73", "^", "-"),
    DENSE: ("#E69F00", "D", "-"),
    VORONOI: ("#D55E00", "v", "-"),
    LOOPED: ("#CC79A7", "*", ""),
}
METHODS = ("#009E73", "#E69F00", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442")
MARKERS = "osD*v^"


def figure(result: dict) -> Figure:
    """Two panels; what was not measured is left out."""
    drawn, (left, right) = plt.subplots(1, 2, figsize=(12, 5.2), layout="constrained")
    _losses(left, [case for case in result.get("losses", ()) if case["size"] == "medium"])
    _labelling(right, [case for case in result.get("labelling", ()) if case["size"] == "medium"])
    machine = result["machine"]
    where = machine["cpu"] if machine["device"] == "cpu" else machine["device"]
    drawn.suptitle(
        f"{where}, {machine['threads']} CPU threads; medians, bars from 10th to 90th percentile", fontsize=10
    )
    return drawn


def _losses(axes: Axes, cases: list[dict]) -> None:
    cases = [case for case in cases if case["case"].endswith("lesions") and case["components"]]
    for name, (colour, marker, line) in LOSSES.items():
        points = [
            (case["components"], case["losses"][name]["over_dicece"])
            for case in cases
            if "over_dicece" in case["losses"].get(name, {})
        ]
        if points:
            _bars(axes, *zip(*points, strict=True), label=name, color=colour, marker=marker, linestyle=line)
        if points and name == LOOPED:
            count, ratio = points[0]
            text = f"{LOOPED}:\n{ratio['median']:.0f} times"
            axes.annotate(text, (count, ratio["median"]), (10, 0), textcoords="offset points", fontsize=8, va="center")
    _one(axes, BASELINE)
    axes.set(xscale="log", yscale="log", xlabel="number of lesions in the batch", ylim=(0.3, None))
    axes.set_ylabel("time of forward + backward over DiceCELoss (times)")
    axes.set_title(f"Losses, {_shape(cases)}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.12), ncols=2, frameon=False)


def _labelling(axes: Axes, cases: list[dict]) -> None:
    names = list(dict.fromkeys(name for case in cases for name in case["methods"]))
    shown = [name for name in names if not name.startswith(LABELLING) and name != COPY]
    for index, name in enumerate(shown):
        points = [
            (NAMES.index(case["case"]) + 0.08 * (index - len(shown) / 2), case["methods"][name]["over_ours"])
            for case in cases
            if "over_ours" in case["methods"].get(name, {})
        ]
        if points:
            colour, marker = METHODS[index % len(METHODS)], MARKERS[index % len(MARKERS)]
            _bars(axes, *zip(*points, strict=True), label=name, color=colour, marker=marker, linestyle="")
    _one(axes, f"{LABELLING} (ours)")
    axes.set(yscale="log", ylabel="time over that of label_instances (times)", xlabel="content of the mask")
    ticks = [name.replace(" lesions", "\nlesions").replace("noise ", "noise\n") for name in NAMES]
    axes.set_xticks(range(len(NAMES)), ticks)
    axes.set_title(f"Labelling, {_shape(cases)}")
    axes.grid(alpha=0.3, axis="y")
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.16), ncols=3, frameon=False)


def _one(axes: Axes, name: str) -> None:
    """A line at 1, with what it stands for."""
    axes.axhline(1, color="black", linewidth=0.8, linestyle=":")
    axes.annotate(name, (1, 1), (-4, -3), axes.get_yaxis_transform(), "offset points", fontsize=8, ha="right", va="top")


def _bars(axes: Axes, x: tuple[float, ...], ratios: tuple[dict, ...], **style: object) -> None:
    middle = [ratio["median"] for ratio in ratios]
    below = [max(ratio["median"] - ratio["p10"], 0) for ratio in ratios]
    above = [max(ratio["p90"] - ratio["median"], 0) for ratio in ratios]
    axes.errorbar(x, middle, yerr=(below, above), markersize=6, capsize=2, linewidth=1.2, **style)


def _shape(cases: list[dict]) -> str:
    return "x".join(map(str, cases[0]["shape"])) if cases else "not measured"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path, help="JSON file that speed.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    options = parser.parse_args()
    figure(json.loads(options.result.read_text())).savefig(options.out, dpi=120)


if __name__ == "__main__":
    main()
