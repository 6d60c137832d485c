"""Candidates of a probability map, and which true instances they find."""

from __future__ import annotations

from typing import NamedTuple

import torch

from monai_instance_loss.instances import Instances, label_instances, touching_pairs
from monai_instance_loss.instances.voxels import positions

__all__ = ["CandidateMatch", "match_candidates"]


class CandidateMatch(NamedTuple):
    """What the candidates of a batch find.

    Source: ours.

    Attributes:
        true: the N true instances.
        score: float32 (N,), of the best candidate that touches each, 0 where there is none.
        false_channel: int64 (M,), the channel of each candidate that touches no true instance.
        false_score: float32 (M,), its score.
    """

    true: Instances
    score: torch.Tensor
    false_channel: torch.Tensor
    false_score: torch.Tensor


def match_candidates(
    probability: torch.Tensor, candidates: torch.Tensor, y: torch.Tensor, connectivity: int | None = None
) -> CandidateMatch:
    """Score candidates by their largest probability, in [0, 1], and tell which true instances they find.

    Source: the detection rule of LUNA16 (Setio et al. 2017, doi:10.1016/j.media.2017.06.015), by touch. Differentiable:
    nothing.

    Args:
        probability: float (B, C, *spatial), in [0, 1].
        candidates: bool of the same shape, whose connected components are the candidates.
        y: bool of the same shape, the ground truth.
        connectivity: largest number of orthogonal steps between neighbouring voxels of an instance, 1..number of
            spatial dimensions; ``None`` is full connectivity (8 or 26 neighbours).

    Raises:
        ValueError: the shapes differ or are not 4D or 5D, or ``connectivity`` is out of range.

    Example:
        >>> import torch
        >>> p = torch.tensor([[[[0.9, 0.2, 0.0, 0.8]]]])
        >>> found = match_candidates(p, p > 0, torch.tensor([[[[0, 1, 0, 0]]]]) > 0)
        >>> found.score, found.false_score
        (tensor([0.9000]), tensor([0.8000]))
    """
    pred, true = label_instances(candidates, connectivity), label_instances(y, connectivity)
    position = positions(candidates)
    owner = pred.labels.reshape(-1)[position].long() - 1
    values = probability.reshape(-1)[position].float()
    scores = values.new_zeros(pred.count).scatter_reduce_(0, owner, values, "amax")
    true_ids, pred_ids, _ = touching_pairs(true.labels, pred.labels)
    best = values.new_zeros(true.count).scatter_reduce_(0, true_ids - 1, scores[pred_ids - 1], "amax")
    false = torch.ones_like(scores, dtype=torch.bool)
    false[pred_ids - 1] = False
    return CandidateMatch(true, best, pred.channel[false], scores[false])
