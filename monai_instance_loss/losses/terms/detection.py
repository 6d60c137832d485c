"""Missed and false instances, counted softly by their presence."""

from __future__ import annotations

import torch

from monai_instance_loss.instances import segment_sum
from monai_instance_loss.losses.overlap import Overlap, Side

__all__ = ["false_scores", "missed_scores"]


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
    block = side.block[side.scored]
    total = segment_sum(values[side.scored], block, overlap.blocks)
    return total / torch.bincount(block, minlength=overlap.blocks).clamp(min=1) if as_rate else total
