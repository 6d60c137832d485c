"""The WMH Segmentation Challenge: Dice, HD95 in mm, volume difference in percent, lesion recall and F1.

The rules are those of ``wmh_challenge_scores``: other pathology, label 2, is taken out, lesions are connected over
faces, edges and corners and found by touch. The scorer stops with an error, which is NaN here, where the reference is
empty and for masks without a border in their slices.
"""

from __future__ import annotations

from monai_instance_loss.evaluation.presets.preset import Column, Preset

__all__ = ["PRESETS"]

WMH = Preset(
    name="wmh",
    source="Kuijf et al. 2019, doi:10.1109/TMI.2019.2905770; github.com/hjkuijf/wmhchallenge 2e628cb",
    ignore_label=2,
    options=("ignore_label",),
    columns={
        "dsc": Column(lambda region: region.wmh["dsc"]),
        "h95": Column(lambda region: region.wmh["h95"], "mm"),
        "avd": Column(lambda region: region.wmh["avd"], "%"),
        "recall": Column(lambda region: region.wmh["recall"]),
        "f1": Column(lambda region: region.wmh["f1"]),
    },
)

PRESETS = {WMH.name: WMH}
