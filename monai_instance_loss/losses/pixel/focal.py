"""Focal loss as a RegionLoss, symmetric and asymmetric."""

from __future__ import annotations

from typing import Any

import torch

from monai_instance_loss._checks import checked_number
from monai_instance_loss.losses.engine.region import RegionLoss, RegionSums
from monai_instance_loss.losses.engine.voxels import Map, Voxels

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

    @property
    def on(self) -> tuple[Map, ...]:
        """The modulated -log p, and -log p itself where the foreground is not modulated."""
        return (self.modulated_on, "ce_on") if self.asymmetric else (self.modulated_on,)

    @property
    def off(self) -> tuple[Map, ...]:
        """The modulated -log(1 - p), and -log(1 - p) itself where the foreground is not modulated."""
        return (self.modulated_off, "ce_off") if self.asymmetric else (self.modulated_off,)

    def modulated_on(self, voxels: Voxels) -> torch.Tensor:
        """-log p times (1 - p)^gamma."""
        # a power of the probability itself would have no finite gradient at 0 for gamma below 1
        return voxels.ce_on * (-self.gamma * voxels.ce_off).exp()

    def modulated_off(self, voxels: Voxels) -> torch.Tensor:
        """-log(1 - p) times p^gamma."""
        return voxels.ce_off * (-self.gamma * voxels.ce_on).exp()

    def score(self, sums: RegionSums) -> torch.Tensor:
        """The mean over each region."""
        foreground, background = self.class_weights
        on = sums.on["ce_on" if self.asymmetric else self.modulated_on]
        return (foreground * on + background * sums.off[self.modulated_off]) / sums.voxels.clamp(min=1)

    def score_background(self, sums: RegionSums) -> torch.Tensor:
        """The same with the foreground off the target."""
        foreground, background = self.class_weights
        off = sums.off["ce_off" if self.asymmetric else self.modulated_off]
        return (background * sums.on[self.modulated_on] + foreground * off) / sums.voxels.clamp(min=1)

    def score_false(self, sums: RegionSums, presence: torch.Tensor) -> torch.Tensor:
        """The same: the focal loss is not flat without target."""
        return self.score(sums)

    @property
    def class_weights(self) -> tuple[float, float]:
        """Weights of the voxels on and off the target."""
        return (1.0, 1.0) if self.alpha is None else (self.alpha, 1 - self.alpha)
