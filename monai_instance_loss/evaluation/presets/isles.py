"""ISLES'22 and ISLES'24: Dice, lesion F1, and absolute differences of lesion count and of volume in ml.

In 2022 a lesion is found by touch, and F1 counts its hits on the true side. In 2024 panoptica matches one to one at an
IoU of 0.2 or more, best first; the code of the challenge's year had 0.5, which is one option away. Accident of the
scorer that is followed: Dice of 2024 is 0 where no lesion matches, whatever the overlap.
"""

from __future__ import annotations

from monai_instance_loss.evaluation.presets.columns import count_difference, dice, f1, volume_difference_ml
from monai_instance_loss.evaluation.presets.preset import Column, Preset
from monai_instance_loss.evaluation.presets.scored_region import ScoredRegion
from monai_instance_loss.metrics.matching import Matching

__all__ = ["PRESETS"]


def _dice_of_matches(region: ScoredRegion) -> float:
    return 0.0 if region.missed + region.false and not region.detected else dice(region)


ISLES22 = Preset(
    name="isles22",
    source="Hernandez Petzsche et al. 2022, doi:10.1038/s41597-022-01875-5; github.com/ezequieldlrosa/isles22 31b7c8c",
    matching=Matching("touch"),
    empty=1.0,
    options=("regions", "connectivity", "matching", "min_volume_mm3", "empty"),
    columns={
        "dice": Column(dice),
        "lesion_f1": Column(f1),
        "lesion_count_difference": Column(count_difference, "lesions"),
        "volume_difference_ml": Column(volume_difference_ml, "ml"),
    },
)

ISLES24 = Preset(
    name="isles24",
    source="de la Rosa et al. 2024, arXiv 2408.10966; github.com/ezequieldlrosa/isles24 94b3486 with panoptica 1.0.1",
    matching=Matching("iou", threshold=0.2, assignment="greedy", inclusive=True),
    empty=1.0,
    options=ISLES22.options,
    columns={**ISLES22.columns, "dice": Column(_dice_of_matches)},
)

PRESETS = {"isles22": ISLES22, "isles24": ISLES24}
