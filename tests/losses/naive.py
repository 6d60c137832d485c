"""The instance terms as plain loops with whole-volume masks, written from the formulas alone: the tests' oracle."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

Criterion = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def dice(p: torch.Tensor, y: torch.Tensor, smooth_nr: float = 1e-5, smooth_dr: float = 1e-5) -> torch.Tensor:
    """MONAI's DiceLoss() on one map."""
    return 1 - (2 * (p * y).sum() + smooth_nr) / (p.sum() + y.sum() + smooth_dr)


@dataclass(frozen=True)
class Options:
    """The options of InstanceLoss that change numbers."""

    instance_loss: Criterion = dice
    center_loss: Criterion = dice
    threshold: float = 0.5
    connectivity: int | None = None
    center_radius: int = 3
    min_instance_size: int = 0
    exclude_other_tp: bool = True
    count_as_rate: bool = True
    instance_reduction: str = "mean"
    average_over: str = "instance"
    proximity: str = "published"
    box_distance: str = "diou"
    reduction: str = "mean"
    # a criterion that is no function of region sums is not replaced by presence on false components
    presence_scores_false: bool = True


@dataclass
class Block:
    """Everything about one sample and class."""

    true_values: list[torch.Tensor]
    pred_values: list[torch.Tensor]
    has_instances: bool
    center: torch.Tensor
    false: torch.Tensor
    missed: torch.Tensor
    proximity: torch.Tensor


def components(mask: np.ndarray, connectivity: int | None) -> list[np.ndarray]:
    labels, count = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, connectivity or mask.ndim))
    return [labels == k for k in range(1, count + 1)]


def terms(
    p: torch.Tensor,
    y: torch.Tensor,
    options: Options,
    *,
    ignored: torch.Tensor | None = None,
    instance_map: torch.Tensor | None = None,
    weights_of: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """All terms but the pixel loss, of probabilities and a binary target (B, C, *spatial).

    ``instance_map`` tells the true instances apart instead of labelling ``y``; presence weights are those of
    ``weights_of`` rather than of ``p`` where given, so that finite differences leave them alone.
    """
    if ignored is not None:
        p, y = p.masked_fill(ignored, 0), y.bool() & ~ignored
    frozen = (p if weights_of is None else weights_of).detach()
    by_class = []
    for c in range(p.shape[1]):
        blocks = []
        for b in range(p.shape[0]):
            mask = y[b, c].numpy().astype(bool)
            if instance_map is None:
                true = components(mask, options.connectivity)
            else:
                ids = instance_map[b, c].numpy() * mask
                true = [ids == k for k in np.unique(ids[ids > 0])]
            kept = torch.ones_like(p[b, c], dtype=torch.bool) if ignored is None else ~ignored[b, 0]
            blocks.append(_block(p[b, c], mask, true, frozen[b, c], kept, options))
        by_class.append(blocks)
    present = [blocks for blocks in by_class if any(block.has_instances for block in blocks)] or by_class
    per_class = [_reduce(blocks, options) for blocks in present]
    return {name: sum(values[name] for values in per_class) / len(per_class) for name in per_class[0]}


def _block(
    p: torch.Tensor,
    y: np.ndarray,
    true: list[np.ndarray],
    frozen: torch.Tensor,
    kept: torch.Tensor,
    options: Options,
) -> Block:
    pred = components(p.detach().numpy() >= options.threshold, options.connectivity)
    touches = [[bool((g & q).any()) for q in pred] for g in true]
    # small instances still touch and are touched, but have no score of their own
    scored_true = [i for i, g in enumerate(true) if g.sum() > options.min_instance_size]
    scored_pred = [j for j, q in enumerate(pred) if q.sum() > options.min_instance_size]

    def presence(mask: np.ndarray) -> torch.Tensor:
        inside = torch.from_numpy(mask)
        total = frozen[inside].sum()
        return (p[inside] * frozen[inside]).sum() / (total if total > 0 else 1)

    def scored(criterion: Criterion, region: np.ndarray, target: np.ndarray) -> torch.Tensor:
        return criterion(p * torch.from_numpy(region), torch.from_numpy(target).to(p.dtype))

    whole = np.ones_like(y)
    true_values = []
    for i in scored_true:
        region = true[i].copy()
        for j, q in enumerate(pred):
            if touches[i][j]:
                region |= q & ~y if options.exclude_other_tp else q
        true_values.append(scored(options.instance_loss, region, true[i]))
    true_values = true_values or [scored(options.instance_loss, whole, y)]

    pred_values = []
    false_ones = []
    for j in scored_pred:
        target = np.zeros_like(y)
        for i, g in enumerate(true):
            if touches[i][j]:
                target |= g
        if not target.any():
            false_ones.append(j)
        if not target.any() and options.presence_scores_false:
            pred_values.append(presence(pred[j]))
        else:
            pred_values.append(scored(options.instance_loss, pred[j], target))
    pred_values = pred_values or [scored(options.instance_loss, whole, y)]

    missed = p.sum() * 0 + sum(1 - presence(true[i]) for i in scored_true)
    false = p.sum() * 0 + sum(presence(pred[j]) for j in false_ones)
    if options.count_as_rate:
        missed, false = missed / max(1, len(scored_true)), false / max(1, len(scored_pred))

    center_true, center_pred = torch.zeros_like(p.detach()), torch.zeros_like(p)
    for i in scored_true:
        box = _center_box(true[i], options.center_radius)
        center_true = torch.where(box, torch.ones_like(center_true), center_true)
        if not any(touches[i]):
            center_pred = torch.where(box, torch.maximum(center_pred, presence(true[i])), center_pred)
    for j in scored_pred:
        box = _center_box(pred[j], options.center_radius)
        center_pred = torch.where(box, torch.maximum(center_pred, presence(pred[j])), center_pred)

    middle = [n // 2 for n in y.shape]
    stand_in = ([n - 1 for n in middle], [n + 1 for n in middle], middle)
    true_boxes = [_wide_box(true[i]) for i in scored_true] or [stand_in]
    pred_boxes = [_wide_box(pred[j]) for j in scored_pred] or [stand_in]
    kind = options.box_distance
    a = [min(_distance(first, second, kind) for second in pred_boxes) for first in true_boxes]
    b = [min(_distance(first, second, kind) for first in true_boxes) for second in pred_boxes]
    weighted_true = sum(x * value for x, value in zip(a, true_values, strict=True))
    weighted_pred = sum(x * value for x, value in zip(b, pred_values, strict=True))
    if options.proximity == "published":
        proximity = (weighted_true - weighted_pred) ** 2
    else:
        proximity = (weighted_true / len(a) + weighted_pred / len(b)) / 2
    return Block(
        true_values,
        pred_values,
        bool(true or pred),
        options.center_loss(center_pred * kept, center_true * kept),
        false,
        missed,
        proximity,
    )


def _reduce(blocks: list[Block], options: Options) -> dict[str, torch.Tensor]:
    """One class: from its samples to one number a term."""
    over_batch = torch.sum if options.reduction == "sum" else torch.mean
    over_instances = torch.sum if options.instance_reduction == "sum" else torch.mean
    result = {}
    for name, values in (
        ("instance", [block.true_values for block in blocks]),
        ("instance_pred", [block.pred_values for block in blocks]),
    ):
        if options.average_over == "instance":
            result[name] = over_batch(torch.stack(list(itertools.chain(*values))))
        else:
            result[name] = over_batch(torch.stack([over_instances(torch.stack(sample)) for sample in values]))
    for name in ("center", "false", "missed", "proximity"):
        result[name] = over_batch(torch.stack([getattr(block, name) for block in blocks]))
    return result


def _center_box(mask: np.ndarray, radius: int) -> torch.Tensor:
    box = torch.zeros(mask.shape, dtype=torch.bool)
    corners = []
    for indices, n in zip(np.nonzero(mask), mask.shape, strict=True):
        center = -(-int(indices.sum()) // len(indices))
        half = -(-radius * n // max(mask.shape))
        corners.append(slice(max(0, center - half - 1), max(0, min(n, center + half))))
    box[tuple(corners)] = True
    return box


def _wide_box(mask: np.ndarray) -> tuple[list[int], list[int], list[int]]:
    low, high, center = [], [], []
    for indices, n in zip(np.nonzero(mask), mask.shape, strict=True):
        first, last = int(indices.min()), int(indices.max())
        extent = max(1, last - first)
        low.append(max(0, first - extent - 1))
        high.append(min(n, last + extent))
        center.append(low[-1] + -(-(high[-1] - low[-1]) // 2))
    return low, high, center


def _distance(first: tuple[list[int], ...], second: tuple[list[int], ...], kind: str) -> float:
    intersection = first_volume = second_volume = around = 1
    apart = diagonal = 0
    for low_a, high_a, center_a, low_b, high_b, center_b in zip(*first, *second, strict=True):
        intersection *= max(0, min(high_a, high_b) - max(low_a, low_b))
        first_volume *= high_a - low_a
        second_volume *= high_b - low_b
        apart += (center_a - center_b) ** 2
        diagonal += (max(high_a, high_b) - min(low_a, low_b)) ** 2
        around *= max(high_a, high_b) - min(low_a, low_b)
    union = first_volume + second_volume - intersection
    iou = intersection / union
    return 1 - iou + (apart / diagonal if kind == "diou" else (around - union) / around)
