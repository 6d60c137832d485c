"""Unified Focal loss as a RegionLoss, symmetric and asymmetric."""

from __future__ import annotations

from typing import Unpack

import torch

from monai_instance_loss._checks import checked_number
from monai_instance_loss.losses.engine.region import InputKeywords, RegionSums
from monai_instance_loss.losses.pixel.compound import CompoundRegionLoss
from monai_instance_loss.losses.pixel.focal import FocalRegionLoss
from monai_instance_loss.losses.pixel.tversky import ModifiedFocalTverskyLoss

__all__ = ["UnifiedFocalLoss"]


class UnifiedFocalLoss(CompoundRegionLoss):
    """Unified Focal loss, 0 or more: weight * modified focal loss + (1 - weight) * modified focal Tversky loss.

    Source: Yeung et al., *Unified Focal loss: generalising Dice and cross entropy-based losses to handle class
    imbalanced medical image segmentation*, Comput. Med. Imaging Graph. 95 (2022) 102026, arXiv 2102.04525. The parts
    are ``FocalRegionLoss`` (its alpha being delta) and ``ModifiedFocalTverskyLoss``, with exponents gamma and
    1 - gamma; the paper's symmetric equations call 1 - gamma what its asymmetric ones and its code call gamma. The
    asymmetric form leaves foreground unsuppressed in the one and background unenhanced in the other.

    Conventions: ``weight`` is the paper's lambda, the share of the focal part, as in MONAI; the authors' code gives its
    ``weight`` to the Tversky part, so that ours is one minus theirs. That code also clips p to [1e-7, 1 - 1e-7]; here
    the cross-entropy of a logit is exact, however large.

    Special cases: gamma = 0, delta = 0.5 is half the cross-entropy (weight 1) or the Dice loss averaged over foreground
    and background (weight 0); gamma = 0, weight 0 the Tversky loss; weight 1, symmetric, the focal loss with
    alpha = delta; weight 0, symmetric, the focal Tversky loss with 1 - gamma for its 1 / gamma.

    Classes: a channel is a foreground and all other voxels its background, channels are averaged. With
    ``include_background`` on more than one exclusive channel (any input but ``sigmoid``), channel 0 is the background
    of all others instead, and a sample has one value: cross-entropies are summed over classes and Tversky losses
    averaged. For two classes all of these are the same. MONAI's ``AsymmetricUnifiedFocalLoss`` takes probabilities,
    whatever it says, of two classes, and half the sum over classes of the focal part.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``. Differentiable in ``input``.

    Args:
        weight: share of the focal part, in [0, 1].
        delta: weight of foreground voxels and of false negatives, in [0, 1].
        gamma: strength of suppression and enhancement, in [0, 0.999].
        asymmetric: asymmetric or symmetric form.
        smooth_nr: added to the numerators of the Tversky indices.
        smooth_dr: added to their denominators.
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: an option of the wrong type, an unknown keyword; on call, an input that is no float tensor, a target
            that is no tensor.
        ValueError: a number out of range, two activations, an unknown ``reduction``; on call, shapes that do not fit, a
            target that is not binary (or labels), probabilities outside [0, 1].

    Example:
        >>> y = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> loss = UnifiedFocalLoss(weight=1, delta=0.6, gamma=0.5, sigmoid=True)
        >>> round(float(loss(torch.zeros(1, 1, 2, 2), y)), 4)  # (0.6 + 3 * 0.4 * sqrt(0.5)) / 4 * log 2
        0.251
    """

    def __init__(
        self,
        *,
        weight: float = 0.5,
        delta: float = 0.6,
        gamma: float = 0.5,
        asymmetric: bool = True,
        smooth_nr: float = 1e-5,
        smooth_dr: float = 1e-5,
        **kwargs: Unpack[InputKeywords],
    ) -> None:
        weight = checked_number("weight", weight, high=1)
        delta, gamma = checked_number("delta", delta, high=1), checked_number("gamma", gamma, high=0.999)
        focal = _ClassFocal(gamma=gamma, alpha=delta, asymmetric=asymmetric)
        tversky = ModifiedFocalTverskyLoss(
            delta=delta, gamma=gamma, asymmetric=asymmetric, smooth_nr=smooth_nr, smooth_dr=smooth_dr
        )
        super().__init__([focal, tversky], weights=[weight, 1 - weight], **kwargs)


class _ClassFocal(FocalRegionLoss):
    """The focal loss, and with a background channel its sum over classes of each class's own voxels."""

    def score_image(self, sums: RegionSums, channels: int, has_background: bool) -> torch.Tensor:
        """One value (B, 1) a sample where channel 0 is the background, otherwise channel by channel."""
        if not has_background:
            return super().score_image(sums, channels, has_background)
        (foreground, background), modulated = self._numbers(), sums.on[self.modulated_on].view(-1, channels)
        of_foreground = sums.on["ce_on"].view(-1, channels) if self.asymmetric else modulated
        own = torch.cat([background * modulated[:, :1], foreground * of_foreground[:, 1:]], 1)
        return (own / sums.voxels.view(-1, channels).clamp(min=1)).sum(1, keepdim=True)
