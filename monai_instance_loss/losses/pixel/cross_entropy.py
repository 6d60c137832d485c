"""Binary cross-entropies as RegionLosses: plain, weighted and balanced."""

from __future__ import annotations

from typing import Any

import torch

from monai_instance_loss._checks import checked_number
from monai_instance_loss.losses.engine.region import RegionLoss, RegionSums
from monai_instance_loss.losses.engine.voxels import Map

__all__ = ["BalancedCELoss", "BinaryCELoss", "WeightedCELoss"]


class WeightedCELoss(RegionLoss):
    """Weighted binary cross-entropy, 0 or more: mean of -(pos_weight y log p + neg_weight (1 - y) log(1 - p)).

    Source: Pihur et al., *Weighted rank aggregation of cluster validation measures*, Bioinformatics 23 (2007), and
    Ronneberger et al., U-Net, MICCAI 2015; with ``neg_weight=1`` it is torch's ``BCEWithLogitsLoss(pos_weight)``.

    Every channel is scored against the rest, in float32 and from the logits where there are any. A region without
    target has a cross-entropy like any other. Shapes, types and differentiability as in ``RegionLoss``.

    Args:
        pos_weight: weight of the target's voxels, 0 or more.
        neg_weight: weight of all other voxels, 0 or more.
        kwargs: as in ``RegionLoss``.

    Raises:
        TypeError, ValueError: a weight that is no finite number of 0 or more; as in ``RegionLoss``.

    Example:
        >>> logits = torch.zeros(1, 1, 2, 2)
        >>> y = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> round(float(WeightedCELoss(pos_weight=5, sigmoid=True)(logits, y)), 4)  # (5 + 3) / 4 * log 2
        1.3863
    """

    def __init__(self, pos_weight: float = 1.0, neg_weight: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pos_weight = checked_number("pos_weight", pos_weight)
        self.neg_weight = checked_number("neg_weight", neg_weight)

    @property
    def on(self) -> tuple[Map, ...]:
        """-log p."""
        return ("ce_on",)

    @property
    def off(self) -> tuple[Map, ...]:
        """-log(1 - p)."""
        return ("ce_off",)

    def score(self, sums: RegionSums) -> torch.Tensor:
        """The mean over each region."""
        return self._mean(sums, self.pos_weight, self.neg_weight)

    def score_background(self, sums: RegionSums) -> torch.Tensor:
        """The same with the weights the other way round: the foreground is off the target there."""
        return self._mean(sums, self.neg_weight, self.pos_weight)

    def score_false(self, sums: RegionSums, presence: torch.Tensor) -> torch.Tensor:
        """The same: cross-entropy is not flat without target."""
        return self.score(sums)

    def _mean(self, sums: RegionSums, on_weight: float, off_weight: float) -> torch.Tensor:
        (on,), (off,) = self.on, self.off
        return (on_weight * sums.on[on] + off_weight * sums.off[off]) / sums.voxels.clamp(min=1)


class BinaryCELoss(WeightedCELoss):
    """Binary cross-entropy, 0 or more: mean of -(y log p + (1 - y) log(1 - p)), every channel against the rest.

    Source: torch's ``BCEWithLogitsLoss``, as a RegionLoss. Shapes, types and differentiability as in ``RegionLoss``.

    Args:
        kwargs: as in ``RegionLoss``.

    Raises:
        TypeError, ValueError: as in ``RegionLoss``.

    Example:
        >>> y = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> round(float(BinaryCELoss(sigmoid=True)(torch.zeros(1, 1, 2, 2), y)), 4)  # log 2
        0.6931
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)


class BalancedCELoss(RegionLoss):
    """Class-balanced cross-entropy, 0 or more: mean of -(b y log p + (1 - b)(1 - y) log(1 - p)), b = 1 - mean y.

    Source: Xie & Tu, *Holistically-nested edge detection*, ICCV 2015, eq. 2, with a mean over voxels for the paper's
    sum. The fraction b of voxels off the target is that of each sample and channel. As in the paper, the loss is 0
    where there is no target, whatever the prediction; an instance loss takes presence for it on false components.

    Shapes, types and differentiability as in ``RegionLoss``.

    Args:
        kwargs: as in ``RegionLoss``.

    Raises:
        TypeError, ValueError: as in ``RegionLoss``.

    Example:
        >>> y = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> loss = BalancedCELoss(sigmoid=True)
        >>> round(float(loss(torch.zeros(1, 1, 2, 2), y)), 4)  # (1 * 3/4 + 3 * 1/4) / 4 * log 2
        0.2599
    """

    @property
    def on(self) -> tuple[Map, ...]:
        """-log p."""
        return ("ce_on",)

    @property
    def off(self) -> tuple[Map, ...]:
        """-log(1 - p)."""
        return ("ce_off",)

    def score(self, sums: RegionSums) -> torch.Tensor:
        """The mean over each region, either class weighted by the share of the other."""
        # counts divided by counts would be float32 whatever the sums are
        voxels = sums.voxels.clamp(min=1).to(sums.on["ce_on"].dtype)
        on_share = sums.target_voxels / voxels
        return ((1 - on_share) * sums.on["ce_on"] + on_share * sums.off["ce_off"]) / voxels
