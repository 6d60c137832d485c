"""Sensitivity-specificity loss as a RegionLoss."""

from __future__ import annotations

from typing import Any

import torch

from monai_instance_loss._checks import checked_number
from monai_instance_loss.losses.engine.region import RegionLoss, RegionSums
from monai_instance_loss.losses.engine.voxels import Map, one_minus_squared_error, squared

__all__ = ["SensitivitySpecificityLoss"]


class SensitivitySpecificityLoss(RegionLoss):
    """Weighted squared errors on and off the target, in [0, 1]: r mean_y (1 - p)^2 + (1 - r) mean_{1 - y} p^2.

    Source: Brosch et al., *Deep convolutional encoder networks for multiple sclerosis lesion segmentation*, MICCAI
    2015. The first mean is over the target's voxels, the second over all others; a mean over no voxel is 0. A region
    without target keeps its value, which is not flat.

    Shapes, types and differentiability as in ``RegionLoss``.

    Args:
        sensitivity_ratio: r, the weight of the target's error, in [0, 1]; the paper's is 0.05.
        kwargs: as in ``RegionLoss``.

    Raises:
        TypeError, ValueError: ``sensitivity_ratio`` out of range; as in ``RegionLoss``.

    Example:
        >>> p = torch.tensor([[[[0.5, 0.5], [0.0, 0.0]]]])
        >>> y = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> loss = SensitivitySpecificityLoss(sensitivity_ratio=0.4)
        >>> round(float(loss(p, y)), 4)  # 0.4 * 0.25 / 1 + 0.6 * 0.25 / 3
        0.15
    """

    def __init__(self, sensitivity_ratio: float = 0.05, **kwargs: Any) -> None:
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

    def score(self, sums: RegionSums) -> torch.Tensor:
        """The weighted mean errors of each region."""
        missed = (sums.target_voxels - sums.on[one_minus_squared_error]) / sums.target_voxels.clamp(min=1)
        false = sums.off[squared] / (sums.voxels - sums.target_voxels).clamp(min=1)
        return self.sensitivity_ratio * missed + (1 - self.sensitivity_ratio) * false

    def score_false(self, sums: RegionSums, presence: torch.Tensor) -> torch.Tensor:
        """The same: the squared error is not flat without target."""
        return self.score(sums)
