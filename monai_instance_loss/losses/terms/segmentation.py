"""Instance segmentation terms: a criterion on the region of each true and of each predicted instance."""

from __future__ import annotations

from typing import Any

import torch

from monai_instance_loss.instances import segment_sum
from monai_instance_loss.losses.engine.overlap import InstanceScores, Overlap, with_voxels
from monai_instance_loss.losses.engine.region import RegionLoss, RegionSums
from monai_instance_loss.losses.pixel.adapters import Criterion
from monai_instance_loss.losses.terms import masked
from monai_instance_loss.losses.terms.base import Term

__all__ = ["INSTANCE", "INSTANCE_PRED", "pred_scores", "true_scores"]


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
        values = masked.true_scores(with_voxels(overlap), criterion, exclude_other_tp)
    return overlap.scores(overlap.true, values, lambda blocks: _whole_block_scores(overlap, criterion, blocks))


def pred_scores(overlap: Overlap, criterion: Criterion) -> InstanceScores:
    """Score each predicted instance on itself, against the union of the true instances that it touches.

    Source: Rachmadi et al., Comput. Biol. Med. 174 (2024) 108414. An overlap criterion is flat on a false component;
    there the value is its presence, which is 1 on binary predictions as well.

    Returns:
        Scores (M + blocks without prediction,). Differentiable in the probabilities.
    """
    if isinstance(criterion, RegionLoss):
        sums = _pred_sums(overlap, criterion)
        on_false = criterion.score_false(sums, overlap.presence_pred)
        values = torch.where(overlap.false, on_false, criterion.score(sums))
    else:
        values = masked.pred_scores(with_voxels(overlap), criterion)
    return overlap.scores(overlap.pred, values, lambda blocks: _whole_block_scores(overlap, criterion, blocks))


def scores_of_both(overlap: Overlap, loss: Any) -> tuple[InstanceScores, InstanceScores]:
    """``true_scores`` and ``pred_scores`` with the options of the loss, computed once."""
    return _of_true(overlap, loss), _of_pred(overlap, loss)


def _of_true(overlap: Overlap, loss: Any) -> InstanceScores:
    return overlap.once("true", lambda: true_scores(overlap, loss.instance_loss, loss.exclude_other_tp))


def _of_pred(overlap: Overlap, loss: Any) -> InstanceScores:
    return overlap.once("pred", lambda: pred_scores(overlap, loss.instance_loss))


def _averaged(overlap: Overlap, loss: Any, scores: InstanceScores) -> torch.Tensor:
    value: torch.Tensor = loss.averaging.instances(scores.total, scores.count, overlap.shape, overlap.classes_present)
    return value


INSTANCE = Term(lambda overlap, loss: _averaged(overlap, loss, _of_true(overlap, loss)), "instance_loss")
INSTANCE_PRED = Term(lambda overlap, loss: _averaged(overlap, loss, _of_pred(overlap, loss)), "instance_loss")


def _true_sums(overlap: Overlap, criterion: RegionLoss, exclude_other_tp: bool) -> RegionSums:
    off_target = overlap.true.fragment == 0
    true, pred = overlap.true, overlap.pred
    on = {name: true.gather(values) for name, values in overlap.sums(criterion.on).items()}
    off = {}
    for name, values in overlap.sums(criterion.off).items():
        if exclude_other_tp:
            added = overlap.first(pred.gather(torch.where(off_target, values, 0))[overlap.pair_pred])
        else:
            added = overlap.first(pred.gather(values)[overlap.pair_pred]) - values[overlap.pairs]
        off[name] = segment_sum(added, overlap.pair_true, true.count)
    return RegionSums(on, off, true.voxels, overlap.batch.voxels_per_block[true.block])


def _pred_sums(overlap: Overlap, criterion: RegionLoss) -> RegionSums:
    off_target = overlap.true.fragment == 0
    on = {
        name: overlap.pred.gather(torch.where(off_target, 0, values))
        for name, values in overlap.sums(criterion.on).items()
    }
    off = {
        name: overlap.pred.gather(torch.where(off_target, values, 0))
        for name, values in overlap.sums(criterion.off).items()
    }
    touched_voxels = overlap.first(overlap.true.voxels[overlap.pair_true])
    voxels = touched_voxels.new_zeros(overlap.pred.count).index_add_(0, overlap.pair_pred, touched_voxels)
    return RegionSums(on, off, voxels, overlap.batch.voxels_per_block[overlap.pred.block])


def _whole_block_scores(overlap: Overlap, criterion: Criterion, blocks: torch.Tensor) -> torch.Tensor:
    if isinstance(criterion, RegionLoss):
        return criterion.score(overlap.block_sums(criterion.on, criterion.off, blocks))
    return masked.block_scores(criterion, overlap.batch.voxels.p[blocks], overlap.batch.target[blocks])
