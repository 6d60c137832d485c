"""Scores of a region, by the rules of its preset: what the columns of presets are made of.

Each takes a ``ScoredRegion`` and returns a number, NaN where there is nothing to score and the preset gives nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from monai_instance_loss.evaluation.presets.scored_region import ScoredRegion
from monai_instance_loss.metrics.overlaps import OverlapTable
from monai_instance_loss.metrics.thresholds import area_under_thresholds

__all__ = [
    "count_difference",
    "dice",
    "f1",
    "false_negative_volume_ml",
    "false_on_lesion_free",
    "false_positive_volume_ml",
    "hd95_mm",
    "lesion_wise_dice",
    "lesion_wise_hd95_mm",
    "mean_detected_dice",
    "precision",
    "quality",
    "quality_over_thresholds",
    "sensitivity",
    "volume_difference_ml",
    "volume_difference_mm3",
]


def dice(region: ScoredRegion) -> float:
    """Dice of all voxels, in [0, 1]; ``empty`` where both masks are."""
    total = region.true_voxels + region.pred_voxels
    return 2 * region.shared_voxels / total if total else region.rules.empty


def f1(region: ScoredRegion) -> float:
    """TP / (TP + (FP + FN) / 2), in [0, 1], the hits counted on the true side; ``empty`` without a lesion."""
    total = region.detected + (region.false + region.missed) / 2
    return region.detected / total if total else region.rules.empty


def sensitivity(region: ScoredRegion) -> float:
    """Part of the true lesions that are found, in [0, 1]; NaN without one."""
    total = region.detected + region.missed
    return region.detected / total if total else math.nan


def precision(region: ScoredRegion) -> float:
    """Part of the predicted lesions that match, in [0, 1]; NaN without one."""
    return region.matched / region.pred.count if region.pred.count else math.nan


def count_difference(region: ScoredRegion) -> float:
    """Absolute difference of the numbers of lesions."""
    return abs(region.true.count - region.pred.count)


def false_on_lesion_free(region: ScoredRegion) -> float:
    """Number of predicted lesions in a case without a true one; NaN with one."""
    return math.nan if region.true.count else region.pred.count


def volume_difference_mm3(region: ScoredRegion) -> float:
    """Absolute difference of the volumes in mm3."""
    return abs(region.true_voxels - region.pred_voxels) * region.voxel_mm3


def volume_difference_ml(region: ScoredRegion) -> float:
    """Absolute difference of the volumes in ml."""
    return volume_difference_mm3(region) / 1000


def false_positive_volume_ml(region: ScoredRegion) -> float:
    """Volume of the predicted lesions that match none, in ml."""
    return int(region.pairs.pred_voxels[~region.pairs.found()[1]].sum()) * region.voxel_mm3 / 1000


def false_negative_volume_ml(region: ScoredRegion) -> float:
    """Volume of the true lesions that match none, in ml."""
    return int(region.pairs.true_voxels[~region.pairs.found()[0]].sum()) * region.voxel_mm3 / 1000


def hd95_mm(region: ScoredRegion) -> float:
    """HD95 in mm; ``missed_distance_mm`` where one mask is empty, 0 where both are."""
    distance = region.distance_mm
    return 0.0 if math.isnan(distance) else min(distance, region.rules.missed_distance_mm)


def lesion_wise_dice(region: ScoredRegion) -> float:
    """Mean Dice of the true lesions that count, false ones as 0, in [0, 1]; ``empty`` without either."""
    scores = region.pairs.measure_unions("dice")[region.scored]
    total = len(scores) + region.false
    return float(scores.sum()) / total if total else region.rules.empty


def lesion_wise_hd95_mm(region: ScoredRegion) -> float:
    """Mean HD95 in mm of the true lesions that count, missed and false ones ``missed_distance_mm``; 0 without any."""
    worst = region.rules.missed_distance_mm
    distances = np.minimum(region.lesion_distances_mm[region.scored.numpy()], worst)
    total = len(distances) + region.false
    return float(distances.sum() + region.false * worst) / total if total else 0.0


def mean_detected_dice(region: ScoredRegion) -> float:
    """Mean Dice of found true lesions, in [0, 1], each with all predicted ones that it is the best one for; 0 for none.

    NaN without a true lesion.
    """
    found = region.pairs.found()[0]
    if not region.true.count:
        return math.nan
    return float(region.many_to_one.measure_unions("dice")[found].mean()) if found.any() else 0.0


def quality(recognition: bool, measure: str | None) -> Callable[[ScoredRegion], float]:
    """Of one to one matches: F1 with ``recognition``, mean overlap with a ``measure``, their product with both.

    In [0, 1]; 0 without a match, NaN without any lesion.
    """
    return lambda region: _quality(region.pairs, recognition, measure)


def quality_over_thresholds(recognition: bool, measure: str | None) -> Callable[[ScoredRegion], float]:
    """The area under ``quality`` over ``thresholds``, in [0, 1]."""

    def area(region: ScoredRegion) -> float:
        scores = [_quality(pairs, recognition, measure) for pairs in region.at_thresholds]
        return area_under_thresholds(scores, region.rules.thresholds)

    return area


def _quality(pairs: OverlapTable, recognition: bool, measure: str | None) -> float:
    matches, lesions = pairs.true_id.numel(), pairs.true_voxels.numel() + pairs.pred_voxels.numel()
    if not matches:
        return 0.0 if lesions else math.nan
    rq = 2 * matches / lesions if recognition else 1.0
    return rq if measure is None else rq * float(pairs.measure(measure).mean())
