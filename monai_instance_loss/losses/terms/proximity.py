"""Instance proximity term: how far each instance's box is from the nearest box of the other side."""

from __future__ import annotations

from typing import Any, Literal

import torch
from monai.data.box_utils import box_giou, box_iou

from monai_instance_loss.instances import merge_boxes, segment_sum
from monai_instance_loss.losses.engine.overlap import InstanceScores, Overlap, Side, VoxelOverlap, with_voxels
from monai_instance_loss.losses.terms.base import Term, over_samples
from monai_instance_loss.losses.terms.segmentation import scores_of_both

__all__ = ["PROXIMITY", "proximity_scores"]

# entries of the distance table held at a time
_CHUNK = 2**20


def proximity_scores(
    overlap: VoxelOverlap,
    true: InstanceScores,
    pred: InstanceScores,
    form: Literal["published", "mean"] = "published",
    box_distance: Literal["diou", "giou"] = "diou",
) -> torch.Tensor:
    """Weigh instance scores by the distance to the nearest box of the other side, block by block.

    Source: Rachmadi et al., Comput. Biol. Med. 174 (2024) 108414. With a the distances of the true instances, l their
    scores, b and m those of the predicted ones: ``"published"`` is (sum a l - sum b m)^2, which has no upper bound and
    vanishes where both sums are equally bad; ``"mean"`` is (mean a l + mean b m) / 2, in [0, 2).

    The distance of two boxes is ``"diou"``, as published, 1 - IoU + (centre distance / diagonal of the smallest box
    around both)^2, or ``"giou"``, 1 - IoU + the empty share of that box (Rezatofighi et al., CVPR 2019, arXiv
    1902.09630); both in [0, 2).

    Args:
        overlap: the batch.
        true: scores of the true instances.
        pred: scores of the predicted instances.
        form: ``"published"`` or ``"mean"``.
        box_distance: ``"diou"`` or ``"giou"``.

    Returns:
        (B * C,). Differentiable in the probabilities through the scores; distances are constants.
    """
    true_boxes, pred_boxes = _boxes(overlap, overlap.true, true), _boxes(overlap, overlap.pred, pred)
    true_distance = torch.empty_like(true.values, requires_grad=False)
    pred_distance = torch.empty_like(pred.values, requires_grad=False)
    for block in range(overlap.blocks):
        rows, columns = (true.block == block).nonzero().squeeze(1), (pred.block == block).nonzero().squeeze(1)
        if rows.numel() == 0:
            # a class that is not averaged over
            continue
        a, b = _nearest(true_boxes[rows], pred_boxes[columns], box_distance)
        true_distance[rows], pred_distance[columns] = a.to(true_distance), b.to(pred_distance)

    sums = []
    for scores, distance in ((true, true_distance), (pred, pred_distance)):
        total = segment_sum(scores.values * distance, scores.block, overlap.blocks)
        if form == "mean":
            total = total / scores.count
        sums.append(total)
    return (sums[0] - sums[1]).square() if form == "published" else (sums[0] + sums[1]) / 2


def _proximity(overlap: Overlap, loss: Any) -> torch.Tensor:
    true, pred = scores_of_both(overlap, loss)
    values = proximity_scores(with_voxels(overlap), true, pred, loss.proximity, loss.box_distance)
    return over_samples(overlap, loss, values)


PROXIMITY = Term(_proximity, "instance_loss", looks_at_voxels=True)


def _boxes(overlap: VoxelOverlap, side: Side, scores: InstanceScores) -> torch.Tensor:
    """Widened boxes and their centres, int64 (R, 3, spatial dims): low, high, centre; one row a score."""
    low, high = merge_boxes(*overlap.fragment_boxes, side.fragment, side.count + 1)
    low, high = low[1:][side.scored], high[1:][side.scored]
    extent = torch.tensor(overlap.batch.shape[2:], device=low.device)
    margin = (high - low).clamp(min=1)
    low, high = (low - margin - 1).clamp(min=0), torch.minimum(high + margin, extent)
    boxes = torch.stack([low, high, low + (high - low + 1) // 2], 1)
    # a block without instances is represented by one box in the middle of the volume
    middle = extent // 2
    stand_in = torch.stack([middle - 1, middle + 1, middle])
    return torch.cat([boxes, stand_in.expand(scores.block.numel() - side.scored.numel(), 3, -1)])


def _nearest(true: torch.Tensor, pred: torch.Tensor, box_distance: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Distance of each true box to the nearest predicted one, and the other way round."""
    nearest_pred, nearest_true = [], None
    step = max(1, _CHUNK // max(1, true.shape[0]))
    for chunk in pred.split(step):
        distance = _DISTANCES[box_distance](chunk, true)
        nearest_pred.append(distance.amin(1))
        best = distance.amin(0)
        nearest_true = best if nearest_true is None else torch.minimum(nearest_true, best)
    if nearest_true is None:
        return true.new_zeros(0), pred.new_zeros(0)
    return nearest_true, torch.cat(nearest_pred)


def _diou(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """1 - IoU + (centre distance / diagonal of the smallest box around both)^2, float32 (n, m)."""
    iou: torch.Tensor = box_iou(_corners(first), _corners(second))
    apart, diagonal = torch.zeros_like(iou), torch.zeros_like(iou)
    # axis after axis, on tables of floats: a sum over a last axis of 3 takes several times as long
    for a, b in zip(first.float().unbind(-1), second.float().unbind(-1), strict=True):
        a, b = a[:, None], b[None]
        apart += (a[..., 2] - b[..., 2]).square_()
        diagonal += (torch.maximum(a[..., 1], b[..., 1]) - torch.minimum(a[..., 0], b[..., 0])).square_()
    return 1 - iou + apart / diagonal


def _giou(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    distance: torch.Tensor = 1 - box_giou(_corners(first), _corners(second))
    return distance


def _corners(boxes: torch.Tensor) -> torch.Tensor:
    return boxes[:, :2].flatten(1).float()


_DISTANCES = {"diou": _diou, "giou": _giou}
