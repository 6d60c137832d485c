"""Missed and false instances, counted softly by their presence."""

from __future__ import annotations

from typing import Any

import torch

from monai_instance_loss.losses.engine.overlap import Overlap, Side
from monai_instance_loss.losses.terms.base import Term, over_samples

__all__ = ["FALSE", "FDR", "MISSED", "SOFT_F1", "false_scores", "fdr_scores", "missed_scores", "soft_f1_scores"]


def missed_scores(overlap: Overlap, as_rate: bool = True) -> torch.Tensor:
    """How much of each block's true instances is missed: a rate in [0, 1], or a number of instances.

    Source: Rachmadi et al., Comput. Biol. Med. 174 (2024) 108414, with one minus the presence for the published step
    function; equal to it on binary predictions.

    Returns:
        (B * C,); 0 for a block without target. Differentiable in the probabilities.
    """
    return _count(overlap, overlap.true, 1 - overlap.presence_true, as_rate)


def false_scores(overlap: Overlap, as_rate: bool = True) -> torch.Tensor:
    """How much of each block's predicted instances is false: a rate in [0, 1], or a number of instances.

    Source: Rachmadi et al., Comput. Biol. Med. 174 (2024) 108414, with the presence for the published step function;
    equal to it on binary predictions.

    Returns:
        (B * C,); 0 for a block without prediction. Differentiable in the probabilities.
    """
    return _count(overlap, overlap.pred, torch.where(overlap.false, overlap.presence_pred, 0), as_rate)


def _count(overlap: Overlap, side: Side, values: torch.Tensor, as_rate: bool) -> torch.Tensor:
    total = side.sum_by_block(values, overlap.blocks)
    return total / side.count_by_block(overlap.blocks).clamp(min=1) if as_rate else total


def soft_f1_scores(overlap: Overlap) -> tuple[torch.Tensor, torch.Tensor]:
    """Soft instance F1 of each block in [0, 1], and which blocks have an instance to score.

    Source: ours. Precision is the share of the predicted presence that touches a true instance, recall the mean
    presence of the true instances.

    Returns:
        (B * C,), 0 where one side has no instance; bool (B * C,). Differentiable in the probabilities.
    """
    recall = 1 - missed_scores(overlap)
    total = overlap.pred.sum_by_block(overlap.presence_pred, overlap.blocks)
    touching = overlap.pred.sum_by_block(torch.where(overlap.false, 0, overlap.presence_pred), overlap.blocks)
    has_true, has_pred = (side.count_by_block(overlap.blocks) > 0 for side in (overlap.true, overlap.pred))
    precision = touching / torch.where(total == 0, 1, total)
    both = precision + recall
    f1 = 2 * precision * recall / torch.where(both == 0, 1, both)
    return torch.where(has_true & has_pred, f1, 0 * f1), has_true | has_pred


def fdr_scores(overlap: Overlap) -> torch.Tensor:
    """Pixel-wise false discovery rate of each block in [0, 1]: 1 - TP / (TP + FP) on the probabilities.

    Source: Rachmadi, Poon, Skibbe, MIDL 2023, arXiv 2304.06229. TP + FP is the whole probability, so that false
    components below the threshold count as well.

    Returns:
        (B * C,); 0 for a block without prediction. Differentiable in the probabilities.
    """
    every = torch.arange(overlap.blocks, device=overlap.true.block.device)
    sums = overlap.block_sums(("p",), ("p",), every)
    tp, fp = sums.on["p"], sums.off["p"]
    predicted = overlap.pred.count_by_block(overlap.blocks) > 0
    # without prediction the total may be so small that its inverse is infinite
    rate = fp / torch.where(predicted, tp + fp, 1)
    return torch.where(predicted, rate, 0 * rate)


def _soft_f1(overlap: Overlap, loss: Any) -> torch.Tensor:
    scores, scored = soft_f1_scores(overlap)
    value: torch.Tensor = loss.averaging.scored(1 - scores, scored)
    return value


MISSED = Term(lambda overlap, loss: over_samples(overlap, loss, missed_scores(overlap, loss.count_as_rate)))
FALSE = Term(lambda overlap, loss: over_samples(overlap, loss, false_scores(overlap, loss.count_as_rate)))
FDR = Term(lambda overlap, loss: over_samples(overlap, loss, fdr_scores(overlap)))
SOFT_F1 = Term(_soft_f1)
