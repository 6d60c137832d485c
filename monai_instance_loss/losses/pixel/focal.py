"""Focal loss as a RegionLoss, symmetric and asymmetric."""

from __future__ import annotations

from typing import Any

import torch

from monai_instance_loss.losses.engine.region import RegionLoss, RegionSums
from monai_instance_loss.losses.engine.voxels import Voxels
from monai_instance_loss.losses.pixel.checks import checked_number

__all__ = ["FocalRegionLoss"]


class FocalRegionLoss(RegionLoss):
    """Focal loss, 0 or more: mean of -alpha (1 - p)^gamma log p on the target, -(1 - alpha) p^gamma log(1 - p) off it.

    Source: Lin et al., *Focal loss for dense object detection*, ICCV 2017 (symmetric; MONAI's ``FocalLoss`` as a
    RegionLoss). Asymmetric: Yeung et al., *Unified Focal loss*, Comput. Med. Imaging Graph. 95 (2022) 102026, which
    keeps the factor p^gamma off the target only, so that the rare foreground is not suppressed.

    Every channel is scored against the rest, in float32 and from the logits where there are any. A region without
    target has a focal loss like any other. Shapes, types and differentiability as in ``RegionLoss``.

    Args:
        gamma: exponent, 0 or more; 0 is cross-entropy.
        alpha: weight of the target's voxels in [0, 1], and 1 - alpha that of the others; None weighs both 1.
        asymmetric: no factor (1 - p)^gamma on the target.
        kwargs: as in ``RegionLoss``.

    Raises:
        TypeError, ValueError: ``gamma`` or ``alpha`` out of range; as in ``RegionLoss``.

    Example:
        >>> y = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> logits = torch.zeros(1, 1, 2, 2)
        >>> round(float(FocalRegionLoss(gamma=2, sigmoid=True)(logits, y)), 4)  # log 2 / 4
        0.1733
        >>> loss = FocalRegionLoss(gamma=2, asymmetric=True, sigmoid=True)
        >>> round(float(loss(logits, y)), 4)  # (1 + 3 / 4) / 4 * log 2
        0.3033
    """

    def __init__(self, gamma: float = 2.0, alpha: float | None = None, asymmetric: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gamma = checked_number("gamma", gamma)
        self.alpha = None if alpha is None else checked_number("alpha", alpha, high=1)
        self.asymmetric = asymmetric

    def on_maps(self, voxels: Voxels) -> tuple[torch.Tensor, ...]:
        """-log p, modulated unless asymmetric."""
        return (voxels.ce_on if self.asymmetric else self.modulated(voxels.ce_on, voxels.ce_off),)

    def off_maps(self, voxels: Voxels) -> tuple[torch.Tensor, ...]:
        """The modulated -log(1 - p)."""
        return (self.modulated(voxels.ce_off, voxels.ce_on),)

    def modulated(self, ce: torch.Tensor, ce_of_wrong: torch.Tensor) -> torch.Tensor:
        """The cross-entropy of the true class, times the probability of the wrong one to the power of gamma."""
        # a power of the probability itself would have no finite gradient at 0 for gamma below 1
        return ce * (-self.gamma * ce_of_wrong).exp()

    def score(self, sums: RegionSums) -> torch.Tensor:
        """The mean over each region."""
        on, off = self.class_weights
        return (on * sums.on[0] + off * sums.off[0]) / sums.voxels.clamp(min=1)

    def score_false(self, sums: RegionSums, presence: torch.Tensor) -> torch.Tensor:
        """The same: the focal loss is not flat without target."""
        return self.score(sums)

    @property
    def class_weights(self) -> tuple[float, float]:
        """Weights of the voxels on and off the target."""
        return (1.0, 1.0) if self.alpha is None else (self.alpha, 1 - self.alpha)
