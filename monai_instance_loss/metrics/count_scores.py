"""From numbers of found, missed and false instances to scores, by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.metrics.confusion_matrix import check_confusion_matrix_metric_name

from monai_instance_loss.metrics.matching import InstanceCounts

__all__ = ["BY_TOUCH", "NAMES", "canonical_name", "score_counts"]

# what follows the four counts in a tally; the same for every matching
BY_TOUCH = ("merged", "split")


def _fbeta(counts: InstanceCounts, beta: float = 1.0) -> torch.Tensor:
    true, pred = counts.detected + counts.missed, counts.matched + counts.false
    sensitivity, precision = counts.detected / true.clamp(min=1), counts.matched / pred.clamp(min=1)
    total = sensitivity + beta**2 * precision
    score = torch.where(total > 0, (1 + beta**2) * sensitivity * precision / total, 0.0)
    return torch.where(true + pred == 0, torch.nan, score)


def _difference(counts: InstanceCounts) -> torch.Tensor:
    return (counts.matched + counts.false - counts.detected - counts.missed).float()


_OF_COUNTS: dict[str, Callable[[InstanceCounts], torch.Tensor]] = {
    "tp": lambda counts: counts.detected.float(),
    "fp": lambda counts: counts.false.float(),
    "fn": lambda counts: counts.missed.float(),
    "sensitivity": lambda counts: counts.detected / (counts.detected + counts.missed),
    "precision": lambda counts: counts.matched / (counts.matched + counts.false),
    "f1": _fbeta,
    "fbeta": _fbeta,
    "missed_rate": lambda counts: counts.missed / (counts.detected + counts.missed),
    "false_rate": lambda counts: counts.false / (counts.matched + counts.false),
    "count_difference": _difference,
    "absolute_count_difference": lambda counts: _difference(counts).abs(),
}

NAMES = (*_OF_COUNTS, *BY_TOUCH)
_OURS = {"missed": "fn", "false": "fp"}
_OF_MONAI = {"tpr": "sensitivity", "ppv": "precision", "fnr": "missed_rate", "fdr": "false_rate", "f1": "f1"}


def score_counts(tally: torch.Tensor, name: str, beta: float = 1.0) -> torch.Tensor:
    """Score counts of instances; ``InstanceConfusionMatrixMetric`` lists the names with their values and ranges.

    Source: ours. Differentiable: nothing.

    Args:
        tally: int64 (..., 4), in the order of ``InstanceCounts``; (..., 6) with ``BY_TOUCH`` for the names in there.
        name: one of ``NAMES``.
        beta: for ``"fbeta"``, how many times as much sensitivity weighs as precision.

    Returns:
        float32 without the last dimension, new; NaN where there is nothing to score.

    Example:
        >>> tally = torch.tensor([2, 1, 1, 1])  # 2 of 3 true instances, 1 of 2 predicted ones
        >>> score_counts(tally, "precision"), score_counts(tally, "f1"), score_counts(tally, "fbeta", 2.0)
        (tensor(0.5000), tensor(0.5714), tensor(0.6250))
    """
    if name in BY_TOUCH:
        return tally[..., 4 + BY_TOUCH.index(name)].float()
    counts = InstanceCounts(*tally[..., :4].unbind(-1))
    return _fbeta(counts, beta) if name == "fbeta" else _OF_COUNTS[name](counts)


def canonical_name(name: str) -> str | None:
    """The one of ``NAMES`` that a name in lower case means, which may be MONAI's; None for an unknown one.

    Example:
        >>> canonical_name("hit_rate"), canonical_name("accuracy")
        ('sensitivity', None)
    """
    if name in NAMES:
        return name
    if name in _OURS:
        return _OURS[name]
    try:
        return _OF_MONAI.get(check_confusion_matrix_metric_name(name))
    except NotImplementedError:
        return None
