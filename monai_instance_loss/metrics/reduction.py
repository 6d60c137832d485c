"""From buffered numbers to scores: MONAI's reductions, and "pooled"; NaN stays NaN."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.metrics.utils import do_metric_reduction
from monai.utils import MetricReduction

__all__ = ["POOLED", "check_reduction", "reduce_scores"]

POOLED = "pooled"


def check_reduction(reduction: MetricReduction | str) -> str:
    """Give the name of a reduction, and refuse an unknown one.

    Source: ours.

    Args:
        reduction: a member or value of ``monai.utils.MetricReduction``, or ``"pooled"``.

    Returns:
        The name.

    Raises:
        ValueError: ``reduction`` is neither.

    Example:
        >>> check_reduction("pooled")
        'pooled'
    """
    names = [*(member.value for member in MetricReduction), POOLED]
    if reduction not in names:
        raise ValueError(f"Expected `reduction` to be one of {names}, but got {reduction!r}.")
    return str(reduction)


def reduce_scores(
    tally: torch.Tensor,
    scores: Callable[[torch.Tensor], list[torch.Tensor]],
    reduction: MetricReduction | str,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Score a tally and reduce the scores that are not NaN; where there is none the result is NaN, not MONAI's 0.

    Source: MONAI's ``do_metric_reduction``; ``"pooled"`` is ours. It adds the tallies of all samples before scoring,
    so that every instance weighs the same whichever sample it is in, scores each channel, and averages over the
    channels.

    Args:
        tally: (N, C, K) or, by bins of volume, (N, C, bins, K); sums and counts that may be added over samples.
        scores: from a tally to scores without its last dimension, float and new, NaN where there is nothing to score.
        reduction: a name that ``check_reduction`` accepts.

    Returns:
        For each score, the reduced score, shaped as MONAI shapes it ((1,) for ``"mean"`` and ``"pooled"``) with bins
        last ((bins,)), and how many scores that are not NaN went into it.

    Raises:
        ValueError: ``reduction`` is unknown.

    Example:
        >>> import torch
        >>> part = lambda tally: [tally[..., 0] / tally[..., 1]]
        >>> [reduce_scores(torch.tensor([[[1, 1]], [[0, 3]]]), part, how)[0][0].item() for how in ("mean", "pooled")]
        [0.5, 0.25]
    """
    reduction = check_reduction(reduction)
    if reduction == POOLED:
        pooled = reduce_scores(tally.sum(0, keepdim=True), scores, MetricReduction.MEAN_CHANNEL)
        return [(value.flatten(), not_nans.flatten()) for value, not_nans in pooled]
    reduced = [do_metric_reduction(score, reduction) for score in scores(tally)]
    return [(torch.where(not_nans == 0, torch.nan, value), not_nans) for value, not_nans in reduced]
