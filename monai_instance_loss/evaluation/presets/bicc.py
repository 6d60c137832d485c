"""The protocol of the BiCC paper: lesion-wise sensitivity, precision and F1, lesion-free scans apart.

Lesions match one to one where their IoU is above 0.1, as many as possible, with the largest total IoU of those. Scans
without a lesion have no rates; of them the number of false positives is averaged. No scorer of the authors is public:
the numbers are those of a restatement with networkx in the tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from monai_instance_loss.evaluation.presets.columns import f1, false_on_lesion_free, precision, sensitivity
from monai_instance_loss.evaluation.presets.preset import Column, Preset
from monai_instance_loss.evaluation.presets.scored_region import ScoredRegion
from monai_instance_loss.metrics.matching import Matching

__all__ = ["PRESETS"]


def _with_lesions(score: Callable[[ScoredRegion], float]) -> Callable[[ScoredRegion], float]:
    return lambda region: score(region) if region.true.count else math.nan


BICC = Preset(
    name="bicc",
    source="Bouteille et al. 2026, BiCC, arXiv 2609.30223; no public scorer",
    matching=Matching("iou", threshold=0.1, assignment="max_cardinality"),
    options=("regions", "connectivity", "matching", "min_volume_mm3"),
    columns={
        "tp": Column(lambda region: region.detected, "lesions", "sum"),
        "fp": Column(lambda region: region.false, "lesions", "sum"),
        "fn": Column(lambda region: region.missed, "lesions", "sum"),
        "sensitivity": Column(sensitivity),
        "precision": Column(_with_lesions(precision)),
        "f1": Column(_with_lesions(f1)),
        "false_positives_negative_scan": Column(false_on_lesion_free, "lesions"),
    },
)

PRESETS = {BICC.name: BICC}
