"""The tables of the documentation from the stored result files: python tests/benchmarks/tables.py"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

RESULTS = Path(__file__).parent / "results"


def speed_table(result: dict) -> str:
    """Ratios of forward + backward to MONAI's DiceCELoss on 2x1x128^3; of the cells, also to their transforms."""
    cases = [case for case in result.get("losses", ()) if case["size"] == "medium"]
    lines = _head(f"{_shape(cases)}, forward + backward", [case["case"] for case in cases])
    for name in _names(case["losses"] for case in cases):
        lines.append(_row(name, [_ratio(case["losses"].get(name), "over_dicece") for case in cases]))
    for name in ("CCLoss", "BiCCLoss"):
        ratios = (case["over_distance_transforms"].get(name) for case in cases)
        lines.append(
            _row(f"{name} over scipy's distance transforms", ["" if r is None else f"{r:.2f}" for r in ratios])
        )
    return "\n".join(lines)


FRONT = (
    "InstanceLoss",
    "InstanceLoss, all seven terms",
    "BlobLoss",
    "CCLoss",
    "BiCCLoss",
    "dense scatter-add, label maps",
)


def front_table(result: dict) -> str:
    """The few costs of the front page."""
    wanted = ("10 lesions", "60 lesions", "600 lesions", "noise 30 %")
    cases = [case for case in result["losses"] if case["size"] == "medium" and case["case"] in wanted]
    lines = _head("time over DiceCELoss", [case["case"] for case in cases])
    for name in FRONT:
        lines.append(_row(name, [_ratio(case["losses"].get(name), "over_dicece") for case in cases]))
    return "\n".join(lines)


def labelling_table(result: dict) -> str:
    """Times of labelling over ours, one row a case; few of the other sizes."""
    cases = [
        case
        for case in result.get("labelling", ())
        if case["size"] == "medium" or case["case"] in ("60 lesions", "noise 30 %")
    ]
    ours, *others = _names(case["methods"] for case in cases) or [""]
    lines = _head("volumes", [ours, *others])
    for case in cases:
        methods = case["methods"]
        label = f"{_shape([case])}, {case['case']}"
        cells = [_ratio(methods.get(name), "over_ours") for name in (ours, *others)]
        lines.append(_row(label, cells))
    return "\n".join(lines)


def class_table(result: dict) -> str:
    """Time and peak memory over MONAI's DiceCELoss of the same flags, one row a number of classes."""
    rows = result.get("classes", ())
    kinds = list(dict.fromkeys((row["moment"], row["form"]) for row in rows))
    lines = _head(
        "classes",
        [f"{moment}, {form}" for moment, form in kinds] + [f"memory, {moment}" for moment in dict(kinds)],
    )
    for classes in dict.fromkeys((row["classes"], row["side"]) for row in rows):
        found = {(row["moment"], row["form"]): row for row in rows if (row["classes"], row["side"]) == classes}
        cells = [_number(found[kind]["time"]["median"]) for kind in kinds]
        cells += [_number(found[moment, "labels"]["memory"]) for moment in dict(kinds)]
        lines.append(_row(f"{classes[0]}, {classes[1]}^3", cells))
    return "\n".join(lines)


def memory_table(result: dict) -> str:
    """Peak extra memory of forward + backward in maps of the size of the batch, one row a loss."""
    cases = result.get("memory", ())
    lines = _head("float32 maps, gradient included", [case["case"] for case in cases])
    for name in _names(case["losses"] for case in cases):
        rows = (case["losses"].get(name, {}) for case in cases)
        lines.append(_row(name, ["failed" if "error" in row else _number(row.get("peak_maps")) for row in rows]))
    return "\n".join(lines)


def step_table(result: dict) -> str:
    """Time of a training step over one with MONAI's DiceCELoss, median and 10th to 90th percentile, one row a loss."""
    steps = result.get("step", ())
    lines = _head("training step", [f"{row['step']}, {row['moment']}" for row in steps])
    for name in _names(row["losses"] for row in steps):
        rows = (row["losses"].get(name, {}) for row in steps)
        lines.append(_row(name, [_step(row) for row in rows]))
    return "\n".join(lines)


def goals_table(result: dict) -> str:
    """What was measured against what was aimed at, one row a goal."""
    lines = _head("goal", ["measured", "goal", "holds"])
    holds = {True: "yes", False: "no", None: ""}
    for row in result.get("goals", ()):
        lines.append(_row(row["name"], [_number(row["value"], 2), row["goal"] or "", holds[row["holds"]]]))
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
    Row(("CCLoss", "BiCCLoss"), "Bouteille 2026", "`spacing_mm`", "ours", False),
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


def loss_table(result: dict | None = None) -> str:
    """Every loss: source, needs, whether it is a criterion, where it is from; with a result, cost over DiceCELoss."""
    columns = ["source", "needs", *(["cost"] if result else []), "criterion", "from"]
    lines = _head("loss", columns)
    for row in LOSSES:
        names = ", ".join(f"`{name}`" for name in row.names)
        cost = [_cost(row, result)] if result else []
        lines.append(_row(names, [row.source, row.needs, *cost, "yes" if row.criterion else "", row.origin]))
    return "\n".join(lines)


def _cost(row: Row, result: dict) -> str:
    costs = [result["losses"][name]["ratio_median"] for name in row.names if name in result["losses"]]
    if not costs:
        return ""
    low, high = (f"{value:.1f}" if value < 10 else f"{value:.0f}" for value in (min(costs), max(costs)))
    return low if low == high else f"{low} to {high}"


def _head(corner: str, columns: list[str]) -> list[str]:
    return [_row(corner, columns), "|---" * (len(columns) + 1) + "|"]


def _row(name: str, cells: list[str]) -> str:
    return f"| {name} | " + " | ".join(cells) + " |"


def _names(groups: Iterable[dict]) -> list[str]:
    """All names; in the order of the group that has most of them."""
    fullest_first = sorted(groups, key=len, reverse=True)
    return list(dict.fromkeys(name for group in fullest_first for name in group))


def _ratio(row: dict | None, key: str) -> str:
    if row is None:
        return ""
    return "failed" if "error" in row else _number(row[key]["median"])


def _step(row: dict) -> str:
    if "error" in row:
        return "failed"
    ratio = row["over_dicece"]
    return f"{ratio['median']:.2f} ({ratio['p10']:.2f} to {ratio['p90']:.2f})"


def _number(value: float | None, digits: int = 1) -> str:
    if value is None:
        return ""
    return f"{value:.{digits}f}" if abs(value) < 100 else f"{value:.0f}"


def _shape(cases: Sequence[dict]) -> str:
    """The shape of the first case: 2x1x128^3, or every extent where they differ."""
    if not cases:
        return ""
    batch, channels, *extents = cases[0]["shape"]
    spatial = f"{extents[0]}^{len(extents)}" if len(set(extents)) == 1 else "x".join(map(str, extents))
    return f"{batch}x{channels}x{spatial}"


STATED_SPEED_TABLES = (speed_table, class_table, labelling_table, memory_table, step_table)
SPEED_TABLES = (*STATED_SPEED_TABLES, goals_table)
TABLES = {
    "costs_cpu.json": (loss_table,),
    "metrics_cpu.json": (metrics_table,),
    "speed_cpu.json": (front_table, *STATED_SPEED_TABLES),
}


def main() -> None:
    for name, tables in TABLES.items():
        result = json.loads((RESULTS / name).read_text())
        print(name, *(table(result) for table in tables), sep="\n\n", end="\n\n")


if __name__ == "__main__":
    main()
