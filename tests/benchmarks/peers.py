"""What a user would write instead of this package: plain implementations, to be timed beside it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss, DiceLoss
from scipy.ndimage import distance_transform_edt

from monai_instance_loss import label_instances

# the published code's default
PASSES = 350
_SMOOTH = 1e-5


def max_pooling_labels(mask: torch.Tensor, passes: int = PASSES) -> torch.Tensor:
    """Labels float32 (B, 1, *spatial): each voxel has an id of its own, and the largest of its neighbourhood spreads.

    The method of the published code (Rachmadi et al. 2024). An object longer than ``passes`` voxels stays in pieces.
    """
    pool = F.max_pool3d if mask.ndim == 5 else F.max_pool2d
    foreground = (mask != 0).float()
    labels = torch.arange(1, mask.numel() + 1, dtype=torch.float32, device=mask.device).view(mask.shape) * foreground
    for _ in range(passes):
        labels = pool(labels, 3, 1, 1) * foreground
    return labels


def looped_terms(
    probability: torch.Tensor, target: torch.Tensor, threshold: float = 0.1, passes: int = PASSES
) -> tuple[torch.Tensor, torch.Tensor]:
    """``instance`` and ``instance_pred`` of InstanceLoss by a loop over instances with whole-volume masks."""
    dice = DiceLoss()
    true_labels = max_pooling_labels(target, passes)
    pred_labels = max_pooling_labels(probability.detach() >= threshold, passes)
    on_true, on_pred = [], []
    for sample in range(target.shape[0]):
        p, y = probability[sample, None], target[sample, None]
        true, pred = true_labels[sample, None], pred_labels[sample, None]
        true_ids, pred_ids = (torch.unique(labels[labels > 0]) for labels in (true, pred))
        for k in true_ids:
            instance = true == k
            touching = torch.unique(pred[instance])
            added = torch.isin(pred, touching[touching > 0]) & (y == 0)
            on_true.append(dice(p * (instance | added), instance.float()))
        for k in pred_ids:
            instance = pred == k
            touched = torch.unique(true[instance])
            if bool((touched > 0).any()):
                on_pred.append(dice(p * instance, torch.isin(true, touched[touched > 0]).float()))
            else:
                inside = p[instance]
                on_pred.append((inside * (inside / inside.sum()).detach()).sum())
        if not true_ids.numel():
            on_true.append(dice(p, y))
        if not pred_ids.numel():
            on_pred.append(dice(p, y))
    return torch.stack(on_true).mean(), torch.stack(on_pred).mean()


def dense_terms(
    probability: torch.Tensor, target: torch.Tensor, threshold: float = 0.1
) -> tuple[torch.Tensor, torch.Tensor]:
    """``instance`` and ``instance_pred`` of InstanceLoss by scatter-add over dense label maps.

    Every voxel is added to the sums of its component, background to those of component 0. Which components touch is
    read off a table of all pairs, or, where that is larger than the volume, off the sorted pairs of all voxels.
    """
    sides = label_instances(target), label_instances(probability.detach() >= threshold)
    true, pred = (side.labels.flatten().long() for side in sides)
    true_count, pred_count = (side.count for side in sides)
    p, y = probability.flatten(), target.flatten()
    on_target = p * y
    true_tp, true_size = _sums(on_target, true, true_count), _sums(y, true, true_count)
    pred_tp, pred_rest = _sums(on_target, pred, pred_count), _sums(p * (1 - y), pred, pred_count)
    presence = _sums(p * p.detach(), pred, pred_count) / (pred_tp + pred_rest).detach()
    pair = true * (pred_count + 1) + pred
    pairs = (true_count + 1) * (pred_count + 1)
    pair = (torch.bincount(pair, minlength=pairs) > 0).nonzero()[:, 0] if pairs <= pair.numel() else torch.unique(pair)
    pair_true, pair_pred = torch.div(pair, pred_count + 1, rounding_mode="floor"), pair % (pred_count + 1)
    both = (pair_true > 0) & (pair_pred > 0)
    pair_true, pair_pred = pair_true[both] - 1, pair_pred[both] - 1
    added = torch.zeros_like(true_tp).index_add(0, pair_true, pred_rest[pair_pred])
    touched = torch.zeros_like(pred_tp).index_add(0, pair_pred, true_size[pair_true])
    on_true = _dice(true_tp, true_tp + added, true_size)
    on_pred = torch.where(touched > 0, _dice(pred_tp, pred_tp + pred_rest, touched), presence)
    return tuple(
        torch.cat([scores, _whole_samples(probability, target, side.sample)]).mean()
        for scores, side in zip((on_true, on_pred), sides, strict=True)
    )


def voronoi_terms(
    probability: torch.Tensor, target: torch.Tensor, threshold: float = 0.1
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same on Voronoi maps, in which every voxel belongs to its nearest component: the two sides of BiCC, by Dice.

    Source of the method: Bouteille et al., *BiCC*, arXiv 2609.30223.
    """
    p, y = probability.flatten(), target.flatten()
    terms = []
    for side in (label_instances(target), label_instances(probability.detach() >= threshold)):
        cells = torch.zeros_like(side.labels, device="cpu")
        for cell, labels in zip(cells.flatten(0, 1), side.labels.flatten(0, 1).cpu(), strict=True):
            if bool(labels.any()):
                nearest = distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
                cell[...] = labels[tuple(torch.from_numpy(nearest).long())]
        ids = cells.to(p.device).flatten().long()
        tp, total, size = (_sums(values, ids, side.count) for values in (p * y, p, y))
        presence = _sums(p * p.detach(), ids, side.count) / total.detach()
        scores = torch.where(size > 0, _dice(tp, total, size), presence)
        terms.append(torch.cat([scores, _whole_samples(probability, target, side.sample)]).mean())
    return tuple(terms)


def looped_instance_loss(input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Pixel loss and both instance terms by max pooling and a loop."""
    return DiceCELoss(sigmoid=True)(input, target) + sum(looped_terms(input.sigmoid(), target))


def dense_instance_loss(input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Pixel loss and both instance terms by scatter-add over dense label maps."""
    return DiceCELoss(sigmoid=True)(input, target) + sum(dense_terms(input.sigmoid(), target))


def voronoi_instance_loss(input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Pixel loss and both sides by scatter-add over Voronoi maps."""
    return DiceCELoss(sigmoid=True)(input, target) + sum(voronoi_terms(input.sigmoid(), target))


def _sums(values: torch.Tensor, ids: torch.Tensor, count: int) -> torch.Tensor:
    return values.new_zeros(count + 1).scatter_add(0, ids, values)[1:]


def _dice(tp: torch.Tensor, total: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    return 1 - (2 * tp + _SMOOTH) / (total + size + _SMOOTH)


def _whole_samples(probability: torch.Tensor, target: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Dice of the samples that have no component: each counts as one."""
    bare = [sample for sample in range(target.shape[0]) if sample not in seen.tolist()]
    p, y = probability[bare].flatten(1), target[bare].flatten(1)
    return _dice((p * y).sum(1), p.sum(1), y.sum(1))
