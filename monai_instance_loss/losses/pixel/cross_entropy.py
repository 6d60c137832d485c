"""Binary cross-entropies as RegionLosses: plain, weighted and balanced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch

from monai_instance_loss.losses.engine.region import InputKeywords, RegionLoss, RegionSums
from monai_instance_loss.losses.engine.voxels import Map
from monai_instance_loss.losses.pixel.class_weights import ClassWeight, ClassWeightedLoss, checked_class_weight

__all__ = ["BalancedCELoss", "BinaryCELoss", "WeightedCELoss"]


class WeightedCELoss(ClassWeightedLoss):
    """Weighted binary cross-entropy, 0 or more: mean of -(pos_weight y log p + neg_weight (1 - y) log(1 - p)).

    Source: Pihur et al., *Weighted rank aggregation of cluster validation measures*, Bioinformatics 23 (2007), and
    Ronneberger et al., U-Net, MICCAI 2015; with ``neg_weight=1`` it is torch's ``BCEWithLogitsLoss(pos_weight)``.

    Every channel is scored against the rest, in float32 and from the logits where there are any. A region without
    target has a cross-entropy like any other.

    Background: on more than one exclusive channel with ``include_background`` (any activation but ``sigmoid``), channel
    0 is the background of the others: its target's voxels weigh ``neg_weight`` there and all others ``pos_weight``. Two
    softmax channels so have the value of one sigmoid channel; it is torch's ``CrossEntropyLoss(weight=[neg_weight,
    pos_weight])`` over the number of voxels where torch divides by the sum of the weights. On three classes or more
    torch has -log p of a voxel's own class alone, and no term for those that it is not.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``. Differentiable in ``input``.

    Args:
        pos_weight: weight of the target's voxels, 0 or more; or one a scored channel, that of channel 0 its own as
            well.
        neg_weight: weight of all other voxels, 0 or more; or one a scored channel. With either given so, ``pos_weight``
            is on the target and ``neg_weight`` off it in every channel, and an instance loss does not take the loss as
            a criterion.
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: an option of the wrong type, an unknown keyword; on call, an input that is no float tensor, a target
            that is no tensor.
        ValueError: a weight that is not finite and 0 or more, two activations, an unknown ``reduction``; on call,
            shapes that do not fit, not one weight a scored channel, a target that is not binary (or labels),
            probabilities outside [0, 1].

    Example:
        >>> logits = torch.zeros(1, 1, 2, 2)
        >>> y = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> round(float(WeightedCELoss(pos_weight=5, sigmoid=True)(logits, y)), 4)  # (5 + 3) / 4 * log 2
        1.3863
    """

    def __init__(
        self,
        *,
        pos_weight: float | Sequence[float] = 1.0,
        neg_weight: float | Sequence[float] = 1.0,
        **kwargs: Unpack[InputKeywords],
    ) -> None:
        super().__init__(**kwargs)
        self.pos_weight = checked_class_weight("pos_weight", pos_weight)
        self.neg_weight = checked_class_weight("neg_weight", neg_weight)

    @property
    def on(self) -> tuple[Map, ...]:
        """-log p."""
        return ("ce_on",)

    @property
    def off(self) -> tuple[Map, ...]:
        """-log(1 - p)."""
        return ("ce_off",)

    @property
    def class_weights(self) -> tuple[ClassWeight, ClassWeight]:
        """``pos_weight`` and ``neg_weight``."""
        return self.pos_weight, self.neg_weight

    def weighted(
        self, sums: RegionSums, on: float | torch.Tensor, off: float | torch.Tensor, background: bool
    ) -> torch.Tensor:
        """The mean over each region."""
        (on_map,), (off_map,) = self.on, self.off
        return (on * sums.on[on_map] + off * sums.off[off_map]) / sums.voxels.clamp(min=1)


class BinaryCELoss(WeightedCELoss):
    """Binary cross-entropy, 0 or more: mean of -(y log p + (1 - y) log(1 - p)), every channel against the rest.

    Source: torch's ``BCEWithLogitsLoss``, as a RegionLoss.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``. Differentiable in ``input``.

    Args:
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: an option of the wrong type, an unknown keyword; on call, an input that is no float tensor, a target
            that is no tensor.
        ValueError: two activations, an unknown ``reduction``; on call, shapes that do not fit, a target that is not
            binary (or labels), probabilities outside [0, 1].

    Example:
        >>> y = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> round(float(BinaryCELoss(sigmoid=True)(torch.zeros(1, 1, 2, 2), y)), 4)  # log 2
        0.6931
    """

    def __init__(self, **kwargs: Unpack[InputKeywords]) -> None:
        super().__init__(**kwargs)


class BalancedCELoss(RegionLoss):
    """Class-balanced cross-entropy, 0 or more: mean of -(b y log p + (1 - b)(1 - y) log(1 - p)), b = 1 - mean y.

    Source: Xie & Tu, *Holistically-nested edge detection*, ICCV 2015, eq. 2, with a mean over voxels for the paper's
    sum. The fraction b of voxels off the target is that of each sample and channel. As in the paper, the loss is 0
    where there is no target, whatever the prediction; an instance loss takes presence for it on false components.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``. Differentiable in ``input``.

    Args:
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: an option of the wrong type, an unknown keyword; on call, an input that is no float tensor, a target
            that is no tensor.
        ValueError: two activations, an unknown ``reduction``; on call, shapes that do not fit, a target that is not
            binary (or labels), probabilities outside [0, 1].

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
