"""The published terms on binary predictions as loops over masks, from their meaning alone: the tests' oracle.

Small instances are those of at most ``min_size`` voxels, large ones all others:

- instance: each large label, against the union of the large predictions that touch it;
- instance_pred: each large prediction, against all labels that it touches, small ones too;
- center: boxes of the large ones on both sides;
- false: predictions that are small, or touch no label; a rate is of all predictions;
- missed: labels, small ones too, that no large prediction touches; a rate is of all labels;
- proximity: distances between large ones, weighted by their values of the first two terms;
- pixel and fdr: all voxels, whatever they belong to.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

# on bool masks of the prediction and the target
Criterion = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Options:
    """The published options that change numbers."""

    criterion: Criterion
    min_size: int
    radius: int
    no_tp: bool
    as_rate: bool
    sum_instances: bool
    per_sample: bool


def components(mask: np.ndarray) -> list[np.ndarray]:
    labels, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    return [labels == k for k in range(1, count + 1)]


def confuses_regions(p: np.ndarray, y: np.ndarray, min_size: int) -> bool:
    """Whether the published code takes a region from the wrong predictions in a sample.

    It numbers the large predictions and looks these numbers up in a list of all of them, which is sorted by their last
    voxels: off by the number of small ones before. That matters for a prediction that touches a large label.
    """
    pred = components(p)
    small_ends = [_last(q) for q in pred if q.sum() <= min_size]
    joins = [q for q in pred if q.sum() > min_size and any((q & g).any() for g in components(y) if g.sum() > min_size)]
    return any(end < _last(q) for end in small_ends for q in joins)


def terms(p: np.ndarray, y: np.ndarray, options: Options) -> dict[str, float]:
    """All terms but the pixel loss, of a bool prediction and target (B, *spatial)."""
    samples = [_sample(*pair, options) for pair in zip(p, y, strict=True)]
    result = {}
    for name in ("instance", "instance_pred"):
        values = [sample[name] for sample in samples]
        if options.per_sample:
            result[name] = float(np.mean([sum(v) if options.sum_instances else np.mean(v) for v in values]))
        else:
            result[name] = float(np.mean(list(itertools.chain(*values))))
    for name in ("center", "fdr", "false", "missed", "proximity"):
        result[name] = float(np.mean([sample[name] for sample in samples]))
    return result


def _sample(p: np.ndarray, y: np.ndarray, options: Options) -> dict:
    true, pred = components(y), components(p)
    large_true = [g for g in true if g.sum() > options.min_size]
    large_pred = [q for q in pred if q.sum() > options.min_size]

    instance = []
    for g in large_true:
        region = np.zeros_like(y)
        for q in large_pred:
            if (q & g).any():
                region |= q & (g | ~y) if options.no_tp else q
        instance.append(options.criterion(region, g))
    instance_pred = []
    for q in large_pred:
        touched = np.zeros_like(y)
        for g in true:
            if (q & g).any():
                touched |= g
        instance_pred.append(options.criterion(q, touched))
    whole = [options.criterion(p, y)]
    instance, instance_pred = instance or whole, instance_pred or whole

    missed = sum(not any((q & g).any() for q in large_pred) for g in true)
    false = len(pred) - sum((q & y).any() for q in large_pred)
    if options.as_rate:
        missed, false = missed / max(1, len(true)), false / max(1, len(pred))

    centers = [np.zeros_like(y), np.zeros_like(y)]
    for canvas, instances in zip(centers, (large_pred, large_true), strict=True):
        for mask in instances:
            canvas[_center_box(mask, options.radius)] = True

    middle = [n // 2 for n in y.shape]
    stand_in = ([n - 1 for n in middle], [n + 1 for n in middle], middle)
    boxes = [[_wide_box(mask) for mask in side] or [stand_in] for side in (large_true, large_pred)]
    distance = np.array([[_distance(a, b) for b in boxes[1]] for a in boxes[0]])
    proximity = float(distance.min(1) @ instance - distance.min(0) @ instance_pred) ** 2
    return {
        "instance": instance,
        "instance_pred": instance_pred,
        "center": options.criterion(*centers),
        "fdr": 1 - (p & y).sum() / p.sum() if p.any() else 0.0,
        "false": false,
        "missed": missed,
        "proximity": proximity,
    }


def _last(mask: np.ndarray) -> int:
    return int(np.flatnonzero(mask)[-1])


def _center_box(mask: np.ndarray, radius: int) -> tuple[slice, ...]:
    box = []
    for indices, n in zip(np.nonzero(mask), mask.shape, strict=True):
        center = -(-int(indices.sum()) // len(indices))
        half = -(-radius * n // max(mask.shape))
        box.append(slice(max(0, center - half - 1), max(0, min(n, center + half))))
    return tuple(box)


def _wide_box(mask: np.ndarray) -> tuple[list[int], list[int], list[int]]:
    low, high, center = [], [], []
    for indices, n in zip(np.nonzero(mask), mask.shape, strict=True):
        first, last = int(indices.min()), int(indices.max())
        extent = max(1, last - first)
        low.append(max(0, first - extent - 1))
        high.append(min(n, last + extent))
        center.append(low[-1] + -(-(high[-1] - low[-1]) // 2))
    return low, high, center


def _distance(first: tuple[list[int], ...], second: tuple[list[int], ...]) -> float:
    """1 - IoU + (distance of the centres / diagonal of the box around both) squared."""
    (low_a, high_a, center_a), (low_b, high_b, center_b) = np.array(first), np.array(second)
    shared = np.clip(np.minimum(high_a, high_b) - np.maximum(low_a, low_b), 0, None).prod()
    union = (high_a - low_a).prod() + (high_b - low_b).prod() - shared
    diagonal = np.square(np.maximum(high_a, high_b) - np.minimum(low_a, low_b)).sum()
    return float(1 - shared / union + np.square(center_a - center_b).sum() / diagonal)
