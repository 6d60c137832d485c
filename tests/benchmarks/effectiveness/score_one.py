"""Scores of one run: what its probabilities find, miss and invent, case by case and cut by cut.

Two rules say what is found. By touch, as the WMH challenge counts: a shared voxel. One-to-one: an intersection over
union above 0.1, as many pairs as possible, each lesion and each prediction in one at most. The second is the one by
which the operating point is chosen, on validation cases; by touch a mask that covers everything would win.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from monai.metrics import DiceMetric
from train_one import LEVELS

from monai_instance_loss.instances import Instances, label_instances
from monai_instance_loss.metrics import ComponentMetric
from monai_instance_loss.metrics.assignment import assign
from monai_instance_loss.metrics.overlaps import OverlapTable, overlap_table

CUTS = tuple(range(10, 200, 10))
SMALLEST = (1, 2, 3, 5)
VOLUME_EDGES_MM3 = (50.0, 200.0, 1000.0)
HALF = (LEVELS // 2, 1)
SPACING_MM = (2.0, 2.0, 3.0)
VOXEL_MM3 = math.prod(SPACING_MM)


@dataclass(frozen=True, eq=False)
class Case:
    """A case with its prediction.

    Args:
        name: site and number.
        levels: probabilities times LEVELS, uint8 (X, Y, Z), 0 in other pathology.
        y: the lesions, bool (X, Y, Z).
        true: the lesions by themselves.
        voxel_mm3: volume of a voxel.
    """

    name: str
    levels: torch.Tensor
    y: torch.Tensor
    true: Instances
    voxel_mm3: float

    @classmethod
    def of(cls, name: str, levels: np.ndarray, wmh: torch.Tensor, voxel_mm3: float) -> Case:
        """From the stored probabilities and the challenge's labels (X, Y, Z)."""
        seen = torch.from_numpy(levels).masked_fill(wmh == 2, 0)
        return cls(name, seen, wmh == 1, label_instances((wmh == 1)[None, None]), voxel_mm3)


def overlaps(case: Case, cut: int) -> tuple[Instances, OverlapTable]:
    """The predictions at a cut, and whom they touch."""
    pred = label_instances((case.levels >= cut)[None, None])
    return pred, overlap_table(case.true, pred)


def without_small(table: OverlapTable, smallest: int) -> OverlapTable:
    """The table as if the predictions of fewer voxels than ``smallest`` were not there."""
    keep = table.pred_voxels >= smallest
    renumbered = keep.cumsum(0)
    pairs = table.select(keep[table.pred_id - 1])
    return OverlapTable(
        pairs.true_id, renumbered[pairs.pred_id - 1], pairs.shared, table.true_voxels, table.pred_voxels[keep]
    )


def one_to_one(table: OverlapTable, threshold: float = 0.1) -> OverlapTable:
    """The pairs of the one-to-one rule."""
    overlap = table.measure("iou")
    near = table.select(overlap > threshold)
    return assign(near, near.measure("iou"), "max_cardinality")


def counts(table: OverlapTable) -> dict[str, int]:
    """Numbers of lesions and predictions by both rules."""
    detected, matched = table.found()
    pairs = len(one_to_one(table).true_id)
    n_true, n_pred = len(detected), len(matched)
    return {
        "true": n_true,
        "predicted": n_pred,
        "touch_found": int(detected.sum()),
        "touch_false": n_pred - int(matched.sum()),
        "one_found": pairs,
        "one_false": n_pred - pairs,
    }


def f1(sensitivity_parts: tuple[int, int], precision_parts: tuple[int, int]) -> float:
    """Harmonic mean of two ratios; NaN without a lesion on either side, 0 where only one side has some."""
    (found, true), (right, predicted) = sensitivity_parts, precision_parts
    if not true and not predicted:
        return math.nan
    if not found or not right:
        return 0.0
    return 2 / (true / found + predicted / right)


def scores(row: Mapping[str, int]) -> dict[str, float]:
    """F1, sensitivity, precision and missed of both rules, from ``counts``."""
    result: dict[str, float] = {}
    for rule in ("touch", "one"):
        found, right = row[f"{rule}_found"], row["predicted"] - row[f"{rule}_false"]
        result[f"{rule}_f1"] = f1((found, row["true"]), (right, row["predicted"]))
        result[f"{rule}_sensitivity"] = found / row["true"] if row["true"] else math.nan
        result[f"{rule}_precision"] = right / row["predicted"] if row["predicted"] else math.nan
        result[f"{rule}_missed"] = row["true"] - found
    return result


def curve_rows(case: Case) -> list[dict[str, object]]:
    """Counts at every cut and smallest size."""
    rows = []
    for cut in CUTS:
        _, table = overlaps(case, cut)
        for size in SMALLEST:
            row = counts(without_small(table, size))
            rows.append({"case": case.name, "threshold": cut / LEVELS, "smallest": size, **row})
    return rows


def choose(rows: Iterable[Mapping[str, object]]) -> tuple[int, int]:
    """The cut and smallest size with the best mean one-to-one F1; of equal ones that nearest to 0.5, then 1 voxel."""
    by_point: dict[tuple[int, int], list[float]] = {}
    for row in rows:
        point = (round(float(row["threshold"]) * LEVELS), int(row["smallest"]))
        by_point.setdefault(point, []).append(scores(row)["one_f1"])
    best = {point: round(float(np.nanmean(values)), 9) for point, values in by_point.items()}
    return max(best, key=lambda point: (best[point], -abs(point[0] - HALF[0]), -point[1]))


def case_row(case: Case, point: tuple[int, int]) -> dict[str, object]:
    """Everything about a case at one operating point."""
    cut, smallest = point
    pred, everything = overlaps(case, cut)
    table = without_small(everything, smallest)
    kept = torch.cat([torch.tensor([False]), everything.pred_voxels >= smallest])
    mask = kept[pred.labels.long()]
    row = counts(table)
    numbers: dict[str, object] = {**row, **scores(row)}
    numbers["merged"], numbers["split"] = int(table.merged.sum()), int(table.split.sum())
    both = int((mask[0, 0] & case.y).sum())
    total = int(mask.sum()) + int(case.y.sum())
    numbers["dice"] = 2 * both / total if total else math.nan
    numbers["cc_dice"] = _component_dice(mask, case.y[None, None]) if row["true"] else math.nan
    half = table.select(table.measure("iou") > 0.5)
    segments = (row["true"] + row["predicted"]) / 2
    numbers["pq"] = float(half.measure("iou").sum()) / segments if segments else math.nan
    numbers["true_mm3"] = round(int(case.y.sum()) * case.voxel_mm3, 1)
    numbers["predicted_mm3"] = round(int(mask.sum()) * case.voxel_mm3, 1)
    volume = table.true_voxels * case.voxel_mm3
    part = torch.bucketize(volume.double(), torch.tensor(VOLUME_EDGES_MM3, dtype=torch.float64), right=True)
    found = {"touch": table.found()[0], "one": one_to_one(table).found()[0]}
    for k in range(len(VOLUME_EDGES_MM3) + 1):
        numbers[f"true_bin{k}"] = int((part == k).sum())
        for rule, hit in found.items():
            numbers[f"{rule}_found_bin{k}"] = int((hit & (part == k)).sum())
    return {"case": case.name, "threshold": cut / LEVELS, "smallest": smallest, **numbers}


def _component_dice(mask: torch.Tensor, y: torch.Tensor) -> float:
    metric = ComponentMetric(DiceMetric(), include_background=True, spacing_mm=SPACING_MM)
    metric(mask, y)
    return float(metric.aggregate())


def score_run(val: Iterable[Case], test: Iterable[Case]) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """The case table, at 0.5 and at the point chosen on validation cases, and the curve table of both parts."""
    curve = [{"part": "val", **row} for case in val for row in curve_rows(case)]
    chosen = choose(curve)
    table = []
    for case in test:
        curve += [{"part": "test", **row} for row in curve_rows(case)]
        for name, point in (("0.5", HALF), ("chosen", chosen)):
            table.append({"point": name, **case_row(case, point)})
    return table, curve
