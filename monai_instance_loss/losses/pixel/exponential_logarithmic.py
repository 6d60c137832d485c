"""Exponential logarithmic loss as a RegionLoss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch

from monai_instance_loss._checks import checked_number
from monai_instance_loss.losses.engine.region import InputKeywords, RegionLoss, RegionSums
from monai_instance_loss.losses.engine.voxels import Map, Voxels
from monai_instance_loss.losses.pixel.compound import CompoundRegionLoss
from monai_instance_loss.losses.pixel.cross_entropy import WeightedCELoss
from monai_instance_loss.losses.pixel.tversky import power

__all__ = ["ExponentialLogarithmicLoss"]


class ExponentialLogarithmicLoss(CompoundRegionLoss):
    """Exponential logarithmic loss, 0 or more: w_dice (-log Dice)^gamma + w_ce mean of w (-log p_true)^gamma.

    Source: Wong et al., *3D segmentation with exponential logarithmic loss for highly unbalanced object sizes*, MICCAI
    2018, arXiv 1809.00076, whose defaults these are; its Dice is smoothed by 1. The paper's class weights are
    sqrt(voxels of all classes / voxels of the class) over the training set: pass them as ``pos_weight`` and
    ``neg_weight``. Every channel is scored against the rest; the logarithm of Dice is not flat without target.

    Background: on more than one exclusive channel with ``include_background`` (any activation but ``sigmoid``), channel
    0 is the background of the others: the cross-entropy of its target's voxels weighs ``neg_weight`` and that of all
    others ``pos_weight``. The cross-entropy of two softmax channels is so that of one sigmoid channel; Dice is scored
    channel by channel. The paper has -log p of a voxel's own class alone.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``. Differentiable in ``input``. The gradient is
    0 where Dice or a voxel is exactly right.

    Args:
        weight_dice: weight of the Dice part, 0 or more.
        weight_ce: weight of the cross-entropy part, 0 or more.
        gamma: exponent of both parts, above 0; 1 is -log Dice + cross-entropy.
        pos_weight: weight of target voxels in the cross-entropy part, 0 or more; or one a scored channel.
        neg_weight: weight of all others, 0 or more; or one a scored channel. With either given so, both stay with their
            channel, channel 0 included, and an instance loss does not take the loss as a criterion.
        smooth: added to numerator and denominator of Dice, above 0.
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: an option of the wrong type, an unknown keyword; on call, an input that is no float tensor, a target
            that is no tensor.
        ValueError: a number out of range, two activations, an unknown ``reduction``; on call, shapes that do not fit,
            not one class weight a scored channel, a target that is not binary (or labels), probabilities outside
            [0, 1].

    Example:
        >>> y = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> loss = ExponentialLogarithmicLoss(gamma=1, sigmoid=True)
        >>> round(float(loss(torch.zeros(1, 1, 2, 2), y)), 4)  # 0.8 * log((3 + 1) / (1 + 1)) + 0.2 * log 2
        0.6931
    """

    def __init__(
        self,
        *,
        weight_dice: float = 0.8,
        weight_ce: float = 0.2,
        gamma: float = 0.3,
        pos_weight: float | Sequence[float] = 1.0,
        neg_weight: float | Sequence[float] = 1.0,
        smooth: float = 1.0,
        **kwargs: Unpack[InputKeywords],
    ) -> None:
        gamma, smooth = checked_number("gamma", gamma, low=1e-3), checked_number("smooth", smooth, low=1e-10)
        weights = [checked_number("weight_dice", weight_dice), checked_number("weight_ce", weight_ce)]
        super().__init__(
            [_PowerLogDice(gamma, smooth), _PowerCE(gamma, pos_weight, neg_weight)], weights=weights, **kwargs
        )


class _PowerLogDice(RegionLoss):
    """(-log Dice)^gamma."""

    def __init__(self, gamma: float, smooth: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.smooth = smooth

    def score(self, sums: RegionSums) -> torch.Tensor:
        tp = sums.on["p"]
        wrong = sums.off["p"] + sums.target_voxels - tp
        # Dice is 1 / (1 + x)
        return power(torch.log1p(wrong / (2 * tp + self.smooth)), self.gamma)

    def score_false(self, sums: RegionSums, presence: torch.Tensor) -> torch.Tensor:
        return self.score(sums)


class _PowerCE(WeightedCELoss):
    """Weighted cross-entropy of each voxel, to the power of gamma."""

    def __init__(self, gamma: float, pos_weight: float | Sequence[float], neg_weight: float | Sequence[float]) -> None:
        super().__init__(pos_weight=pos_weight, neg_weight=neg_weight)
        self.gamma = gamma

    @property
    def on(self) -> tuple[Map, ...]:
        return (self.power_on,)

    @property
    def off(self) -> tuple[Map, ...]:
        return (self.power_off,)

    def power_on(self, voxels: Voxels) -> torch.Tensor:
        """(-log p)^gamma."""
        return power(voxels.ce_on, self.gamma)

    def power_off(self, voxels: Voxels) -> torch.Tensor:
        """(-log(1 - p))^gamma."""
        return power(voxels.ce_off, self.gamma)
