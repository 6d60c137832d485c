"""The README's tables from the stored result files: python tests/benchmarks/tables.py"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

RESULTS = Path(__file__).parent / "results"


def speed_table(result: dict) -> str:
    """Ratios of forward + backward to the baseline, one row a loss; of the cells, also to their distance transforms."""
    labels = [f"{case['shape'][0]}x{case['shape'][2]}^3, {case['lesions']}" for case in result["cases"]]
    lines = ["| volumes, lesions | " + " | ".join(labels) + " |", "|---" * (len(labels) + 1) + "|"]
    for name in result["cases"][0]["losses"]:
        cells = (f"{case['losses'][name]['ratio_median']:.1f}" for case in result["cases"])
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for name in ("CCLoss", "BiCCLoss"):
        cells = (
            "" if case["lesions"] == 0 else f"{case['over_distance_transforms'][name]:.2f}" for case in result["cases"]
        )
        lines.append(f"| {name} over scipy's distance transforms | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def training_table(result: dict) -> str:
    """Validation scores of the best checkpoint, one row a run."""
    columns = {
        "instance_f1": "instance F1",
        "missed_instances": "missed a case",
        "false_instances": "false a case",
        "mean_dice": "Dice",
    }
    lines = ["| loss, seed | " + " | ".join(columns.values()) + " |", "|---" * (len(columns) + 1) + "|"]
    for run in result["runs"]:
        cells = (f"{run[name]:.{1 if 'instances' in name else 3}f}" for name in columns)
        lines.append(f"| {run['loss']}, {run['seed']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def metrics_table(result: dict) -> str:
    """Times over our panoptic quality, one row a metric."""
    labels = [f"{case['side']}^3, {case['instances']}" for case in result["cases"]]
    lines = ["| volume, instances | " + " | ".join(labels) + " |", "|---" * (len(labels) + 1) + "|"]
    for name in result["cases"][0]["metrics"]:
        rows = (case["metrics"][name] for case in result["cases"])
        cells = ("out of memory" if row is None else f"{row['over_ours']:.1f}" for row in rows)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


class Row(NamedTuple):
    """A row of the table of losses."""

    names: tuple[str, ...]
    source: str
    needs: str
    origin: str
    criterion: bool


LOSSES = [
    Row(("InstanceLoss", "InstanceCenterLoss"), "Rachmadi 2024", "", "ours", False),
    Row(("ICILoss",), "Rachmadi 2023", "", "ours", False),
    Row(("SoftInstanceF1Loss",), "ours", "", "ours", False),
    Row(("BlobLoss",), "Kofler 2023", "", "ours", False),
    Row(("CCLoss", "BiCCLoss"), "Bouteille 2026", "scipy, `spacing_mm`", "ours", False),
    Row(("BinaryCELoss", "WeightedCELoss", "BalancedCELoss"), "Xie & Tu 2015 (balanced)", "", "ours", True),
    Row(("FocalRegionLoss",), "Lin 2017; asymmetric: Yeung 2022", "", "ours", True),
    Row(
        ("DiceRegionLoss", "JaccardLoss", "GeneralizedDiceRegionLoss", "LogCoshDiceLoss"),
        "Milletari 2016, Rahman 2016, Sudre 2017, Jadon 2020",
        "",
        "ours",
        True,
    ),
    Row(
        ("TverskyRegionLoss", "FocalTverskyLoss", "ModifiedFocalTverskyLoss"),
        "Salehi 2017, Abraham & Khan 2019, Yeung 2022",
        "",
        "ours",
        True,
    ),
    Row(("SensitivitySpecificityLoss",), "Brosch 2015", "", "ours", True),
    Row(
        ("DiceCERegionLoss", "ComboLoss", "ExponentialLogarithmicLoss", "UnifiedFocalLoss"),
        "Isensee 2021, Taghanaki 2019, Wong 2018, Yeung 2022",
        "",
        "ours",
        True,
    ),
    Row(("TLoss",), "Gonzalez-Jimenez 2023", "its `nu` in the optimizer", "ours", True),
    Row(("LovaszHingeLoss", "LovaszSoftmaxLoss"), "Berman 2018", "", "ours", False),
    Row(
        ("BoundaryLoss", "DistancePenalisedCELoss", "ShapeAwareLoss", "HausdorffDTLoss"),
        "Kervadec 2019, Caliva 2019, Al Arif 2017, Karimi 2020",
        "scipy, `spacing_mm`",
        "ours",
        False,
    ),
    Row(("AveragedHausdorffLoss",), "Ribera 2019", "time: voxels x lesions", "ours", False),
    Row(
        ("InstanceBoxGIoULoss", "InstanceBoxDIoULoss"),
        "Rezatofighi 2019, Zheng 2020, on soft boxes (ours)",
        "",
        "ours",
        False,
    ),
    Row(
        ("DiceLoss", "GeneralizedDiceLoss", "TverskyLoss", "FocalLoss", "DiceCELoss", "DiceFocalLoss"),
        "as above",
        "",
        "MONAI",
        True,
    ),
    Row(("BCEWithLogitsLoss", "CrossEntropyLoss"), "", "", "torch", True),
]


def loss_table(result: dict) -> str:
    """Every loss: source, needs, cost over DiceCELoss, whether it is a criterion, where it comes from."""
    lines = ["| loss | source | needs | cost | criterion | from |", "|---|---|---|---|---|---|"]
    for row in LOSSES:
        costs = [result["losses"][name]["ratio_median"] for name in row.names if name in result["losses"]]
        low, high = (f"{value:.1f}" if value < 10 else f"{value:.0f}" for value in (min(costs), max(costs)))
        cost = low if low == high else f"{low} to {high}"
        names = ", ".join(f"`{name}`" for name in row.names)
        criterion = "yes" if row.criterion else ""
        lines.append(f"| {names} | {row.source} | {row.needs} | {cost} | {criterion} | {row.origin} |")
    return "\n".join(lines)


TABLES = {
    "costs_cpu.json": loss_table,
    "metrics_cpu.json": metrics_table,
    "speed_cpu.json": speed_table,
    "training.json": training_table,
}


def main() -> None:
    for name, table in TABLES.items():
        print(f"{name}\n\n{table(json.loads((RESULTS / name).read_text()))}\n")


if __name__ == "__main__":
    main()
