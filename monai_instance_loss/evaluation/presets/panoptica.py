"""panoptica: recognition, segmentation and panoptic quality at an IoU of 0.5, and their areas under thresholds.

Lesions match one to one where their IoU is 0.5 or more, best first. The areas (AUTC) run over thresholds 0.1 to 1.
Where no lesion matches a quality is 0, and NaN without any lesion, which counts 0 in the areas.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from monai_instance_loss.evaluation.presets.columns import dice, precision, sensitivity
from monai_instance_loss.evaluation.presets.preset import Column, Preset
from monai_instance_loss.evaluation.presets.scored_region import ScoredRegion
from monai_instance_loss.metrics.matching import Matching
from monai_instance_loss.metrics.overlaps import OverlapTable
from monai_instance_loss.metrics.thresholds import area_under_thresholds

__all__ = ["PRESETS"]


def _quality(pairs: OverlapTable, recognition: bool, measure: str | None) -> float:
    matches, lesions = pairs.true_id.numel(), pairs.true_voxels.numel() + pairs.pred_voxels.numel()
    if not matches:
        return 0.0 if lesions else math.nan
    rq = 2 * matches / lesions if recognition else 1.0
    return rq if measure is None else rq * float(pairs.measure(measure).mean())


def _columns(recognition: bool, measure: str | None) -> tuple[Column, Column]:
    def area(region: ScoredRegion) -> float:
        scores = [_quality(pairs, recognition, measure) for pairs in region.at_thresholds]
        return area_under_thresholds(scores, region.rules.thresholds)

    return Column(lambda region: _quality(region.pairs, recognition, measure)), Column(area)


def _count(value: Callable[[ScoredRegion], float]) -> Column:
    return Column(value, "lesions")


QUALITIES = {
    "rq": _columns(True, None),
    "sq": _columns(False, "iou"),
    "pq": _columns(True, "iou"),
    "sq_dsc": _columns(False, "dice"),
    "pq_dsc": _columns(True, "dice"),
}

PANOPTICA = Preset(
    name="panoptica",
    source="Kofler et al. 2023, arXiv 2312.02608; github.com/BrainLesion/panoptica, release 2.1.7",
    matching=Matching("iou", threshold=0.5, assignment="greedy", inclusive=True),
    thresholds=tuple(step / 10 for step in range(1, 11)),
    options=("regions", "connectivity", "matching", "min_volume_mm3", "thresholds"),
    columns={
        "n_ref_instances": _count(lambda region: region.true.count),
        "n_pred_instances": _count(lambda region: region.pred.count),
        "tp": _count(lambda region: region.detected),
        "fp": _count(lambda region: region.false),
        "fn": _count(lambda region: region.missed),
        "prec": Column(precision),
        "rec": Column(sensitivity),
        **{name: column for name, (column, _) in QUALITIES.items()},
        "global_bin_dsc": Column(dice),
        **{f"autc_{name}": area for name, (_, area) in QUALITIES.items()},
    },
)

PRESETS = {PANOPTICA.name: PANOPTICA}
