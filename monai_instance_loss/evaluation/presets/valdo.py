"""VALDO 2021, microbleeds: F1 by centre distance, Dice of found ones, differences of count and of volume in mm3.

A predicted microbleed belongs to the nearest true one whose centre of mass is less than 5 mm away, and a true one is
found by the nearest that belongs to it. Scores are NaN where the reference is empty. Lesions are connected over faces,
edges and corners, the default of the code.

Accidents of the scorer that are followed: a prediction whose nearest lesion is taken is false though another is near;
equally near ones all are true; Dice is that of a found lesion and all predictions that belong to it, false ones too.
References with a partial agreement of raters (0.5) are not read: masks hold 0 and 1.
"""

from __future__ import annotations

import math

from monai_instance_loss.evaluation.presets.columns import count_difference, mean_detected_dice, volume_difference_mm3
from monai_instance_loss.evaluation.presets.preset import Column, Preset
from monai_instance_loss.evaluation.presets.scored_region import ScoredRegion
from monai_instance_loss.metrics.matching import Matching

__all__ = ["PRESETS"]


def _f1(region: ScoredRegion) -> float:
    total = region.missed + region.false + 2 * region.matched
    return 2 * region.matched / total if region.true.count else math.nan


VALDO = Preset(
    name="valdo",
    source="Sudre et al. 2024, doi:10.1016/j.media.2023.103029; github.com/WhereIsValdo/valdo-eval-2021 ee87c04",
    matching=Matching("center_distance", threshold=5.0, assignment="first_choice"),
    options=("regions", "connectivity", "matching", "min_volume_mm3"),
    columns={
        "f1_score": Column(_f1),
        "mean_diceover": Column(mean_detected_dice),
        "absolute_count_difference": Column(count_difference, "lesions"),
        "absolute_volume_difference": Column(volume_difference_mm3, "mm3"),
    },
)

PRESETS = {VALDO.name: VALDO}
