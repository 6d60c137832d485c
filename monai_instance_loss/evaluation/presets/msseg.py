"""MSSEG 2016, Anima: Dice, and PPV, sensitivity and F1 of lesions above 3 mm3 by coverage.

A lesion is connected over faces only. It is detected when more than a tenth of it is covered, and not by lesions that
lie mostly elsewhere; see ``Coverage``. Where the reference is empty Anima writes only number and volume in mm3 of the
lesions that were found.

Accidents of the scorer that are followed: without a predicted lesion above the cut-off PPVL and F1 are 0; without a
true one SensL is 0 / 0, NaN, and F1 0. The program itself was not run, as it needs a build of ITK: its C++ functions
of the detection were, without the rest, on components of the filters of ITK that it uses, in SimpleITK.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from monai_instance_loss.evaluation.presets.columns import dice
from monai_instance_loss.evaluation.presets.preset import Column, Preset
from monai_instance_loss.evaluation.presets.scored_region import ScoredRegion

__all__ = ["PRESETS"]


def _ppv(region: ScoredRegion) -> float:
    return region.covered[1] / region.pred.count if region.pred.count else 0.0


def _sensitivity(region: ScoredRegion) -> float:
    return region.covered[0] / region.true.count if region.true.count else math.nan


def _f1(region: ScoredRegion) -> float:
    ppv, sensitivity = _ppv(region), _sensitivity(region)
    return 2 * ppv * sensitivity / (ppv + sensitivity) if ppv + sensitivity > 0 else 0.0


def _where(reference: bool, score: Callable[[ScoredRegion], float]) -> Callable[[ScoredRegion], float]:
    return lambda region: score(region) if bool(region.true_voxels) == reference else math.nan


MSSEG = Preset(
    name="msseg",
    source="Commowick et al. 2018, doi:10.1038/s41598-018-31911-7; github.com/Inria-Empenn/Anima-Public d9fb323",
    connectivity=1,
    min_volume_mm3=3.0,
    options=("regions", "connectivity", "coverage", "min_volume_mm3"),
    columns={
        "Dice": Column(_where(True, dice)),
        "PPVL": Column(_where(True, _ppv)),
        "SensL": Column(_where(True, _sensitivity)),
        "F1_score": Column(_where(True, _f1)),
        "NbTestedLesions": Column(_where(False, lambda region: region.pred.count), "lesions"),
        "VolTestedLesions": Column(
            _where(False, lambda region: int(region.touching.pred_voxels.sum()) * region.voxel_mm3), "mm3"
        ),
    },
)

PRESETS = {MSSEG.name: MSSEG}
