"""autoPET: Dice, and the volumes in ml of predicted lesions that touch none and of true ones that none touches.

Lesions are connected over faces and edges (18 neighbours). Without anything on either side Dice is NaN, as 0 / 0 is.
"""

from __future__ import annotations

from monai_instance_loss.evaluation.presets.columns import dice, false_negative_volume_ml, false_positive_volume_ml
from monai_instance_loss.evaluation.presets.preset import Column, Preset
from monai_instance_loss.metrics.matching import Matching

__all__ = ["PRESETS"]

AUTOPET = Preset(
    name="autopet",
    source="Gatidis et al. 2024, doi:10.1038/s42256-024-00912-9; github.com/lab-midas/autoPET 468179b",
    connectivity=2,
    matching=Matching("touch"),
    options=("regions", "connectivity", "matching", "min_volume_mm3", "empty"),
    columns={
        "dice": Column(dice),
        "false_positive_volume_ml": Column(false_positive_volume_ml, "ml"),
        "false_negative_volume_ml": Column(false_negative_volume_ml, "ml"),
    },
)

PRESETS = {AUTOPET.name: AUTOPET}
