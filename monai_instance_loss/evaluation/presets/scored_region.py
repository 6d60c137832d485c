"""One region of one case with its lesions labelled, matched and measured, each once and only where a column asks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from monai_instance_loss.evaluation.presets.preset import Preset
from monai_instance_loss.instances import Instances, label_instances
from monai_instance_loss.metrics.challenge import wmh_challenge_scores
from monai_instance_loss.metrics.coverage import detect_by_coverage
from monai_instance_loss.metrics.matching import match_instances
from monai_instance_loss.metrics.merging import MergedInstances, drop_small, merge_nearby
from monai_instance_loss.metrics.overlaps import OverlapTable, overlap_table
from monai_instance_loss.metrics.surface import hausdorff_distance, instance_surface_distances, surface_distances
from monai_instance_loss.metrics.thresholds import match_at_thresholds

__all__ = ["ScoredRegion"]


@dataclass(frozen=True, eq=False)
class ScoredRegion:
    """Masks of a region and what a preset's rules make of them.

    Args:
        y_pred: bool (1, 1, *spatial).
        y: the same.
        spacing_mm: size of a voxel along each axis in mm.
        rules: the preset.

    Example:
        >>> from monai_instance_loss.evaluation.presets import get_preset
        >>> y, y_pred = torch.tensor([[[[1, 0, 1, 1]]]]) > 0, torch.tensor([[[[1, 0, 0, 0]]]]) > 0
        >>> region = ScoredRegion(y_pred, y, (1.0, 2.0), get_preset("isles22", connectivity=1))
        >>> region.true.count, region.missed, region.voxel_mm3
        (2, 1, 2.0)
    """

    y_pred: torch.Tensor
    y: torch.Tensor
    spacing_mm: tuple[float, ...]
    rules: Preset

    @cached_property
    def voxel_mm3(self) -> float:
        """Volume of a voxel in mm3."""
        return math.prod(self.spacing_mm)

    @cached_property
    def true_voxels(self) -> int:
        """Voxels of the reference."""
        return int(self.y.sum())

    @cached_property
    def pred_voxels(self) -> int:
        """Voxels of the prediction."""
        return int(self.y_pred.sum())

    @cached_property
    def shared_voxels(self) -> int:
        """Voxels of both."""
        return int((self.y & self.y_pred).sum())

    @cached_property
    def merged(self) -> MergedInstances:
        """True lesions, and the same dilated where the preset merges by dilation."""
        if self.rules.merge_steps:
            return merge_nearby(self.y, self.rules.merge_steps, self.rules.connectivity)
        instances = self._large(label_instances(self.y, self.rules.connectivity))
        return MergedInstances(instances, instances)

    @property
    def true(self) -> Instances:
        """True lesions."""
        return self.merged.instances

    @cached_property
    def pred(self) -> Instances:
        """Predicted lesions."""
        return self._large(label_instances(self.y_pred, self.rules.connectivity))

    def _large(self, instances: Instances) -> Instances:
        if self.rules.min_volume_mm3 is None:
            return instances
        return drop_small(instances, self.rules.min_volume_mm3 / self.voxel_mm3)

    @cached_property
    def touching(self) -> OverlapTable:
        """All pairs of lesions that share a voxel."""
        return overlap_table(self.true, self.pred)

    @cached_property
    def pairs(self) -> OverlapTable:
        """Pairs of lesions that match."""
        return self._match("")

    @cached_property
    def many_to_one(self) -> OverlapTable:
        """The best true lesion of each predicted one, of those that may match."""
        return self._match("many_to_one")

    def _match(self, assignment: str) -> OverlapTable:
        matching = replace(self.rules.matching, assignment=assignment or self.rules.matching.assignment)
        pairs = match_instances(self.merged.grown, self.pred, matching, self.spacing_mm)
        # sizes and overlaps are those of the lesions as they are, not dilated
        return self.touching.with_pairs(pairs.true_id, pairs.pred_id) if self.rules.merge_steps else pairs

    @cached_property
    def scored(self) -> torch.Tensor:
        """bool (N,): the true lesions that count."""
        return self.pairs.true_voxels * self.voxel_mm3 > self.rules.unscored_volume_mm3

    @property
    def detected(self) -> int:
        """Number of true lesions in a pair that count."""
        return int((self.pairs.found()[0] & self.scored).sum())

    @property
    def missed(self) -> int:
        """Number of true lesions in no pair that count."""
        return int((~self.pairs.found()[0] & self.scored).sum())

    @property
    def matched(self) -> int:
        """Number of predicted lesions in a pair."""
        return int(self.pairs.found()[1].sum())

    @property
    def false(self) -> int:
        """Number of predicted lesions in no pair."""
        return self.pred.count - self.matched

    @cached_property
    def covered(self) -> tuple[int, int]:
        """Numbers of true and of predicted lesions that the other side covers, see ``Coverage``."""
        true, pred = detect_by_coverage(self.touching, self.rules.coverage)
        return int(true.sum()), int(pred.sum())

    @cached_property
    def distance_mm(self) -> float:
        """HD95 of the masks in mm, infinite where one is empty and NaN where both are."""
        return hausdorff_distance(surface_distances(self.y_pred[0, 0], self.y[0, 0], self.spacing_mm))

    @cached_property
    def lesion_distances_mm(self) -> NDArray[np.float64]:
        """(N,) HD95 in mm of each true lesion and all that it is in a pair with; infinite without a pair."""
        found = instance_surface_distances(self.true, self.pred, self.pairs, self.spacing_mm)
        return np.array([hausdorff_distance(distances) for distances in found], np.float64)

    @cached_property
    def at_thresholds(self) -> list[OverlapTable]:
        """Pairs of lesions that match at each threshold of the preset."""
        return match_at_thresholds(self.touching, self.rules.matching, self.rules.thresholds)

    @cached_property
    def wmh(self) -> dict[str, float]:
        """Scores of the WMH challenge."""
        return wmh_challenge_scores(self.y_pred, self.y, self.spacing_mm)
