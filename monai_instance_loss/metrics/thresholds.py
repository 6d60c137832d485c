"""One matching at many thresholds of the overlap, and averages over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from monai_instance_loss.metrics.assignment import assign
from monai_instance_loss.metrics.matching import Matching
from monai_instance_loss.metrics.overlaps import MEASURES, OverlapTable

__all__ = ["area_under_thresholds", "match_at_thresholds"]


def match_at_thresholds(touching: OverlapTable, matching: Matching, thresholds: Sequence[float]) -> list[OverlapTable]:
    """List the pairs that match at each threshold; the instances are labelled and cut into fragments once.

    Source: ours; every item is that of ``match_instances``. Differentiable: nothing.

    Args:
        touching: all pairs that share a voxel, from ``overlap_table``.
        matching: by an overlap; its own threshold does not count.
        thresholds: in [0, 1), or [0, 1] for an inclusive matching.

    Returns:
        One table a threshold.

    Raises:
        ValueError: the matching is by no overlap, or a threshold is out of range.

    Example:
        >>> import torch
        >>> from monai_instance_loss.instances import label_instances
        >>> from monai_instance_loss.metrics import overlap_table
        >>> true, pred = (label_instances(torch.tensor([[[row]]])) for row in ([1, 1, 0, 1], [1, 0, 0, 1]))
        >>> tables = match_at_thresholds(overlap_table(true, pred), Matching("iou", threshold=0), [0.25, 0.5, 0.75])
        >>> [table.true_id.numel() for table in tables]
        [2, 1, 1]
    """
    if matching.criterion not in MEASURES:
        raise ValueError(f"Expected `matching` to be by one of {list(MEASURES)}, but got {matching.criterion!r}.")
    value = touching.measure(matching.criterion)
    tables = []
    for threshold in thresholds:
        rule = replace(matching, threshold=threshold)
        keep = value >= threshold if rule.inclusive else value > threshold
        tables.append(assign(touching.select(keep), value[keep], rule.assignment))
    return tables


def area_under_thresholds(scores: Sequence[float], thresholds: Sequence[float]) -> float:
    """Area under the curve of a score over ascending thresholds from 0 on; in [0, 1] for scores and a last one in it.

    Source: AUTC of panoptica (github.com/BrainLesion/panoptica): trapezoids, the first score standing for 0 up to the
    first threshold, and NaN counting 0. Differentiable: nothing.

    Args:
        scores: one a threshold.
        thresholds: ascending, at least 0.

    Example:
        >>> area_under_thresholds([1.0, 0.5, float("nan")], [0.5, 0.75, 1.0])  # 0.5 + 0.75 / 4 + 0.25 / 4
        0.75
    """
    heights = np.nan_to_num(np.asarray(scores, np.float64))
    edges = np.asarray(thresholds, np.float64)
    if edges[0] > 0:
        heights, edges = np.r_[heights[0], heights], np.r_[0.0, edges]
    return float((np.diff(edges) * (heights[1:] + heights[:-1]) / 2).sum())
