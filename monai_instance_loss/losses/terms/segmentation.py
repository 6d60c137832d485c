"""Instance segmentation terms: a criterion on the region of each true and of each predicted instance."""

from __future__ import annotations

import torch

from monai_instance_loss.instances import segment_sum
from monai_instance_loss.losses.engine.overlap import InstanceScores, Overlap
from monai_instance_loss.losses.engine.region import RegionLoss, RegionSums
from monai_instance_loss.losses.pixel.adapters import Criterion
from monai_instance_loss.losses.terms import masked

__all__ = ["pred_scores", "true_scores"]


def true_scores(overlap: Overlap, criterion: Criterion, exclude_other_tp: bool = True) -> InstanceScores:
    """Score each true instance on itself united with the predicted instances that touch it.

    Source: Rachmadi et al., Comput. Biol. Med. 174 (2024) 108414. A true instance belongs to its region even where it
    is not predicted: on binary predictions that changes nothing, and a missed lesion has its gradient from there.

    Args:
        overlap: the batch.
        criterion: what scores a region.
        exclude_other_tp: of the touching predicted instances, take only the voxels outside the target; False takes the
            voxels on other true instances too, as false positives of this one.

    Returns:
        Scores (K + blocks without target,). Differentiable in the probabilities.
    """
    if isinstance(criterion, RegionLoss):
        values = criterion.score(_true_sums(overlap, criterion, exclude_other_tp))
    else:
        values = masked.true_scores(overlap, criterion, exclude_other_tp)
    return overlap.scores(overlap.true, values, lambda blocks: _whole_block_scores(overlap, criterion, blocks))


def pred_scores(overlap: Overlap, criterion: Criterion) -> InstanceScores:
    """Score each predicted instance on itself, against the union of the true instances that it touches.

    Source: Rachmadi et al., Comput. Biol. Med. 174 (2024) 108414. An overlap criterion is flat on a false component;
    there the value is its presence, which is 1 on binary predictions as well.

    Returns:
        Scores (M + blocks without prediction,). Differentiable in the probabilities.
    """
    if not isinstance(criterion, RegionLoss):
        values = masked.pred_scores(overlap, criterion)
    else:
        sums = _pred_sums(overlap, criterion)
        on_false = criterion.score_false(sums, overlap.presence_false)
        values = torch.where(overlap.false, on_false, criterion.score(sums))
    return overlap.scores(overlap.pred, values, lambda blocks: _whole_block_scores(overlap, criterion, blocks))


def _true_sums(overlap: Overlap, criterion: RegionLoss, exclude_other_tp: bool) -> RegionSums:
    off_target = overlap.true.fragment == 0
    true, pred = overlap.true, overlap.pred
    on = tuple(true.gather(fragment_sum) for fragment_sum in overlap.sums(criterion.on_maps))
    off = []
    for fragment_sum in overlap.sums(criterion.off_maps):
        if exclude_other_tp:
            added = overlap.first(pred.gather(torch.where(off_target, fragment_sum, 0))[overlap.pair_pred])
        else:
            added = overlap.first(pred.gather(fragment_sum)[overlap.pair_pred]) - fragment_sum[overlap.pairs]
        off.append(segment_sum(added, overlap.pair_true, true.count))
    return RegionSums(on, tuple(off), true.voxels, overlap.block_voxels[true.block])


def _pred_sums(overlap: Overlap, criterion: RegionLoss) -> RegionSums:
    off_target = overlap.true.fragment == 0
    on = tuple(
        overlap.pred.gather(torch.where(off_target, 0, fragment_sum))
        for fragment_sum in overlap.sums(criterion.on_maps)
    )
    off = tuple(
        overlap.pred.gather(torch.where(off_target, fragment_sum, 0))
        for fragment_sum in overlap.sums(criterion.off_maps)
    )
    touched_voxels = overlap.first(overlap.true.voxels[overlap.pair_true])
    voxels = touched_voxels.new_zeros(overlap.pred.count).index_add_(0, overlap.pair_pred, touched_voxels)
    return RegionSums(on, off, voxels, overlap.block_voxels[overlap.pred.block])


def _whole_block_scores(overlap: Overlap, criterion: Criterion, blocks: torch.Tensor) -> torch.Tensor:
    if isinstance(criterion, RegionLoss):
        return criterion.score(overlap.block_sums(criterion.on_maps, criterion.off_maps))[blocks]
    return masked.block_scores(criterion, overlap.volume.voxels.p[blocks], overlap.volume.target[blocks])
