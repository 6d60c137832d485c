"""Focal loss as a RegionLoss, symmetric and asymmetric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch

from monai_instance_loss._checks import checked_number
from monai_instance_loss.losses.engine.region import InputKeywords, RegionSums
from monai_instance_loss.losses.engine.voxels import Map, Voxels
from monai_instance_loss.losses.pixel.class_weights import ClassWeight, ClassWeightedLoss, checked_class_weight

__all__ = ["FocalRegionLoss"]


class FocalRegionLoss(ClassWeightedLoss):
    """Focal loss, 0 or more: mean of -alpha (1 - p)^gamma log p on the target, -(1 - alpha) p^gamma log(1 - p) off it.

    Source: Lin et al., *Focal loss for dense object detection*, ICCV 2017 (symmetric; on sigmoid channels it is MONAI's
    ``FocalLoss``). Asymmetric: Yeung et al., *Unified Focal loss*, Comput. Med. Imaging Graph. 95 (2022) 102026, which
    keeps the factor p^gamma off the target only, so that the rare foreground is not suppressed.

    Every channel is scored against the rest, in float32 and from the logits where there are any. A region without
    target has a focal loss like any other.

    Background: on more than one exclusive channel with ``include_background`` (any activation but ``sigmoid``), channel
    0 is the background of the others: ``alpha`` is then the weight of the voxels off its target, and those are the
    foreground that ``asymmetric`` does not suppress. Two softmax channels so have the value of one sigmoid channel,
    which is twice that of MONAI's ``FocalLoss(use_softmax=True)``; on three classes or more MONAI's has a term of a
    voxel's own class alone. MONAI's ``weight`` multiplies whole channels: ``CompoundRegionLoss`` has that for one.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``. Differentiable in ``input``.

    Args:
        gamma: exponent, 0 or more; 0 is cross-entropy.
        alpha: weight of the target's voxels in [0, 1], and 1 - alpha that of the others; None weighs both 1. Or, as in
            MONAI's ``FocalLoss``, one a scored channel, for the voxels of its target, all others weighing 1 in every
            channel; an instance loss does not take the loss as a criterion then.
        asymmetric: no factor (1 - p)^gamma on the target.
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: an option of the wrong type, an unknown keyword; on call, an input that is no float tensor, a target
            that is no tensor.
        ValueError: ``gamma`` or ``alpha`` out of range, two activations, an unknown ``reduction``; on call, shapes that
            do not fit, not one ``alpha`` a scored channel, a target that is not binary (or labels), probabilities
            outside [0, 1].

    Example:
        >>> y = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> logits = torch.zeros(1, 1, 2, 2)
        >>> round(float(FocalRegionLoss(gamma=2, sigmoid=True)(logits, y)), 4)  # log 2 / 4
        0.1733
        >>> loss = FocalRegionLoss(gamma=2, asymmetric=True, sigmoid=True)
        >>> round(float(loss(logits, y)), 4)  # (1 + 3 / 4) / 4 * log 2
        0.3033
    """

    weight_names = ("alpha", "alpha")

    def __init__(
        self,
        *,
        gamma: float = 2.0,
        alpha: float | Sequence[float] | None = None,
        asymmetric: bool = False,
        **kwargs: Unpack[InputKeywords],
    ) -> None:
        super().__init__(**kwargs)
        self.gamma = checked_number("gamma", gamma)
        self.alpha = None if alpha is None else checked_class_weight("alpha", alpha, high=1)
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

    @property
    def class_weights(self) -> tuple[ClassWeight, ClassWeight]:
        """``alpha`` and 1 - ``alpha``, or 1 where it was given channel by channel, as in MONAI."""
        if self.alpha is None:
            return 1.0, 1.0
        return self.alpha, 1.0 if isinstance(self.alpha, tuple) else 1 - self.alpha

    def weighted(
        self, sums: RegionSums, on: float | torch.Tensor, off: float | torch.Tensor, background: bool
    ) -> torch.Tensor:
        """The mean over each region, the foreground without its factor where the loss is asymmetric."""
        on_map: Map = "ce_on" if self.asymmetric and not background else self.modulated_on
        off_map: Map = "ce_off" if self.asymmetric and background else self.modulated_off
        return (on * sums.on[on_map] + off * sums.off[off_map]) / sums.voxels.clamp(min=1)
