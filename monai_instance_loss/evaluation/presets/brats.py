"""BraTS 2023: lesion-wise and whole-volume ("legacy") Dice and HD95 of whole tumour, tumour core, enhancing tumour.

Reference lesions that touch when dilated are one; all predicted ones that touch a dilated lesion are scored with it
together. Lesions up to the volume cut-off are not scored, and predictions on them are not false. A false prediction
scores Dice 0 and 374 mm whatever its size; so does a missed lesion.

Accidents of the scorer that are followed: the dilation is in voxels, whatever their size; predictions are not merged,
and one that touches two lesions is counted whole for both; where there is nothing on either side Dice is 1 and HD95 0.
2024 and later challenges score other regions with rules of their own, which these presets do not follow.
"""

from __future__ import annotations

from dataclasses import replace

from monai_instance_loss.evaluation.presets.columns import dice, hd95_mm, lesion_wise_dice, lesion_wise_hd95_mm
from monai_instance_loss.evaluation.presets.preset import Column, Preset

__all__ = ["PRESETS"]

GLI = Preset(
    name="brats-gli",
    source="Saluja et al., BraTS 2023 metrics; github.com/rachitsaluja/BraTS-2023-Metrics 43c9052",
    regions={"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)},
    merge_steps=3,
    unscored_volume_mm3=50.0,
    empty=1.0,
    missed_distance_mm=374.0,
    options=("regions", "connectivity", "merge_steps", "unscored_volume_mm3", "empty", "missed_distance_mm"),
    columns={
        "Num_TP": Column(lambda region: region.detected, "lesions"),
        "Num_FP": Column(lambda region: region.false, "lesions"),
        "Num_FN": Column(lambda region: region.missed, "lesions"),
        "Legacy_Dice": Column(dice),
        "Legacy_HD95": Column(hd95_mm, "mm"),
        "LesionWise_Score_Dice": Column(lesion_wise_dice),
        "LesionWise_Score_HD95": Column(lesion_wise_hd95_mm, "mm"),
    },
)

PRESETS = {
    "brats-gli": GLI,
    "brats-ssa": replace(GLI, name="brats-ssa"),
    "brats-ped": replace(GLI, name="brats-ped"),
    "brats-men": replace(GLI, name="brats-men", merge_steps=1),
    "brats-met": replace(GLI, name="brats-met", merge_steps=1, unscored_volume_mm3=2.0),
}
