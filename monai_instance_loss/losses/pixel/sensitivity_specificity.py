"""Sensitivity-specificity loss as a RegionLoss."""

from __future__ import annotations

from typing import Unpack

import torch

from monai_instance_loss._checks import checked_number
from monai_instance_loss.losses.engine.region import InputKeywords, RegionSums
from monai_instance_loss.losses.engine.voxels import Map, one_minus_squared_error, squared
from monai_instance_loss.losses.pixel.class_weights import ClassWeight, ClassWeightedLoss

__all__ = ["SensitivitySpecificityLoss"]


class SensitivitySpecificityLoss(ClassWeightedLoss):
    """Weighted squared errors on and off the target, in [0, 1]: r mean_y (1 - p)^2 + (1 - r) mean_{1 - y} p^2.

    Source: Brosch et al., *Deep convolutional encoder networks for multiple sclerosis lesion segmentation*, MICCAI
    2015. The first mean is over the target's voxels, the second over all others; a mean over no voxel is 0. A region
    without target keeps its value, which is not flat.

    Background: on more than one exclusive channel with ``include_background`` (any activation but ``sigmoid``), channel
    0 is the background of the others: what it misses is false foreground there, and weighs 1 - r. Two softmax channels
    so have the value of one sigmoid channel.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``. Differentiable in ``input``.

    Args:
        sensitivity_ratio: r, the weight of the target's error, in [0, 1]; the paper's is 0.05.
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: an option of the wrong type, an unknown keyword; on call, an input that is no float tensor, a target
            that is no tensor.
        ValueError: ``sensitivity_ratio`` outside [0, 1], two activations, an unknown ``reduction``; on call, shapes
            that do not fit, a target that is not binary (or labels), probabilities outside [0, 1].

    Example:
        >>> p = torch.tensor([[[[0.5, 0.5], [0.0, 0.0]]]])
        >>> y = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> loss = SensitivitySpecificityLoss(sensitivity_ratio=0.4)
        >>> round(float(loss(p, y)), 4)  # 0.4 * 0.25 / 1 + 0.6 * 0.25 / 3
        0.15
    """

    def __init__(self, *, sensitivity_ratio: float = 0.05, **kwargs: Unpack[InputKeywords]) -> None:
        super().__init__(**kwargs)
        self.sensitivity_ratio = checked_number("sensitivity_ratio", sensitivity_ratio, high=1)

    @property
    def on(self) -> tuple[Map, ...]:
        """1 - (1 - p)^2, which is 0 on target voxels outside a region as on a masked volume."""
        return (one_minus_squared_error,)

    @property
    def off(self) -> tuple[Map, ...]:
        """p^2."""
        return (squared,)

    @property
    def class_weights(self) -> tuple[ClassWeight, ClassWeight]:
        """r and 1 - r."""
        return self.sensitivity_ratio, 1 - self.sensitivity_ratio

    def weighted(
        self, sums: RegionSums, on: float | torch.Tensor, off: float | torch.Tensor, background: bool
    ) -> torch.Tensor:
        """The weighted mean errors of each region."""
        missed = (sums.target_voxels - sums.on[one_minus_squared_error]) / sums.target_voxels.clamp(min=1)
        false = sums.off[squared] / (sums.voxels - sums.target_voxels).clamp(min=1)
        return on * missed + off * false
