"""panoptica: recognition, segmentation and panoptic quality at an IoU of 0.5, and their areas under thresholds.

Lesions match one to one where their IoU is 0.5 or more, best first. The areas (AUTC) run over thresholds 0.1 to 1.
Where no lesion matches a quality is 0, and NaN without any lesion, which counts 0 in the areas.
"""

from __future__ import annotations

from collections.abc import Callable

from monai_instance_loss.evaluation.presets.columns import (
    dice,
    precision,
    quality,
    quality_over_thresholds,
    sensitivity,
)
from monai_instance_loss.evaluation.presets.preset import Column, Preset
from monai_instance_loss.evaluation.presets.scored_region import ScoredRegion
from monai_instance_loss.metrics.matching import Matching

__all__ = ["PRESETS"]


def _count(value: Callable[[ScoredRegion], float]) -> Column:
    return Column(value, "lesions")


# whether it counts which lesions match, and the overlap of those that do
QUALITIES = {
    "rq": (True, None),
    "sq": (False, "iou"),
    "pq": (True, "iou"),
    "sq_dsc": (False, "dice"),
    "pq_dsc": (True, "dice"),
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
        **{name: Column(quality(*parts)) for name, parts in QUALITIES.items()},
        "global_bin_dsc": Column(dice),
        **{f"autc_{name}": Column(quality_over_thresholds(*parts)) for name, parts in QUALITIES.items()},
    },
)

PRESETS = {PANOPTICA.name: PANOPTICA}
