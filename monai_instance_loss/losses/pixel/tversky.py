"""Tversky losses as RegionLosses: plain, focal, and focal over foreground and background."""

from __future__ import annotations

from typing import Unpack

import torch

from monai_instance_loss._checks import checked_number
from monai_instance_loss.losses.engine.region import InputKeywords, RegionLoss, RegionSums

__all__ = ["FocalTverskyLoss", "ModifiedFocalTverskyLoss", "TverskyRegionLoss", "power"]


def power(base: torch.Tensor, exponent: float) -> torch.Tensor:
    """``base ** exponent`` for base >= 0 and exponent > 0, with a gradient that stays finite at 0.

    Below 1 an exponent has an infinite slope at 0; what is at or below 0 (by rounding) gives 0 without gradient. NaN
    stays NaN.
    """
    if exponent == 1:
        return base
    tiny = torch.finfo(base.dtype).tiny
    return torch.where(base <= tiny, 0, base.clamp(min=tiny).pow(exponent))


class TverskyRegionLoss(RegionLoss):
    """Tversky loss, in [0, 1]: 1 - (TP + smooth_nr) / (TP + alpha FP + beta FN + smooth_dr).

    Source: Salehi, Erdogmus, Gholipour, *Tversky loss function for image segmentation using 3D fully convolutional deep
    networks*, MLMI 2017, arXiv 1706.05721; MONAI's ``TverskyLoss`` as a RegionLoss, names and defaults included.
    alpha = beta = 0.5 is Dice, alpha = beta = 1 is Jaccard. As in MONAI, alpha weighs what is falsely channel 0 as
    well, which is missed foreground where that is the background: with ``include_background=False`` it is the paper's
    loss.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``. Differentiable in ``input``.

    Args:
        alpha: weight of false positives, 0 or more.
        beta: weight of false negatives, 0 or more.
        smooth_nr: added to the numerator.
        smooth_dr: added to the denominator.
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: an option of the wrong type, an unknown keyword; on call, an input that is no float tensor, a target
            that is no tensor.
        ValueError: a number that is not finite and 0 or more, two activations, an unknown ``reduction``; on call,
            shapes that do not fit, a target that is not binary (or labels), probabilities outside [0, 1].

    Example:
        >>> p = torch.tensor([[[[0.5, 0.5], [0.0, 0.0]]]])
        >>> y = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> round(float(TverskyRegionLoss(alpha=0.3, beta=0.7)(p, y)), 4)  # 1 - 0.5 / (0.5 + 0.3 * 0.5 + 0.7 * 0.5)
        0.5
    """

    def __init__(
        self,
        *,
        alpha: float = 0.5,
        beta: float = 0.5,
        smooth_nr: float = 1e-5,
        smooth_dr: float = 1e-5,
        **kwargs: Unpack[InputKeywords],
    ) -> None:
        super().__init__(**kwargs)
        self.alpha = checked_number("alpha", alpha)
        self.beta = checked_number("beta", beta)
        self.smooth_nr = checked_number("smooth_nr", smooth_nr)
        self.smooth_dr = checked_number("smooth_dr", smooth_dr)

    def score(self, sums: RegionSums) -> torch.Tensor:
        """One minus the Tversky index of each region."""
        tp, fp = sums.on["p"], sums.off["p"]
        wrong = self.alpha * fp + self.beta * (sums.target_voxels - tp)
        return _complement(tp, wrong, self.smooth_nr, self.smooth_dr)


class FocalTverskyLoss(TverskyRegionLoss):
    """Focal Tversky loss, in [0, 1]: L^(1 / gamma), L = 1 - (TP + smooth_nr) / (TP + alpha FP + beta FN + smooth_dr).

    Source: Abraham & Khan, *A novel focal Tversky loss function with improved attention U-Net for lesion segmentation*,
    ISBI 2019, arXiv 1810.07842: (1 - TI)^(1/gamma) with gamma in [1, 3], 4/3 found best. The paper's alpha = 0.7
    weighs false negatives and its beta = 0.3 false positives; here alpha weighs false positives and beta false
    negatives, as in Salehi 2017 and in MONAI, on a background channel as well. The formula with the exponents of Yeung
    2021 is ``ModifiedFocalTverskyLoss``.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``. Differentiable in ``input``. The gradient is
    0 where the Tversky loss is exactly 0.

    Args:
        gamma: 1 over the exponent, above 0; 1 is the Tversky loss.
        alpha: weight of false positives, 0 or more.
        beta: weight of false negatives, 0 or more.
        smooth_nr: added to the numerator.
        smooth_dr: added to the denominator.
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: an option of the wrong type, an unknown keyword; on call, an input that is no float tensor, a target
            that is no tensor.
        ValueError: a number out of range, two activations, an unknown ``reduction``; on call, shapes that do not fit, a
            target that is not binary (or labels), probabilities outside [0, 1].

    Example:
        >>> p = torch.tensor([[[[0.5, 0.5], [0.0, 0.0]]]])
        >>> y = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> round(float(FocalTverskyLoss()(p, y)), 4)  # 0.5 ** 0.75
        0.5946
    """

    def __init__(
        self,
        *,
        gamma: float = 4 / 3,
        alpha: float = 0.3,
        beta: float = 0.7,
        smooth_nr: float = 1e-5,
        smooth_dr: float = 1e-5,
        **kwargs: Unpack[InputKeywords],
    ) -> None:
        super().__init__(alpha=alpha, beta=beta, smooth_nr=smooth_nr, smooth_dr=smooth_dr, **kwargs)
        self.gamma = checked_number("gamma", gamma, low=1e-3)

    def score(self, sums: RegionSums) -> torch.Tensor:
        """The Tversky loss of each region, to the power of 1 / gamma."""
        return power(super().score(sums), 1 / self.gamma)


class ModifiedFocalTverskyLoss(RegionLoss):
    """Focal Tversky loss over foreground and background, in [0, 1]: mean over classes of (1 - TI)^(1 - gamma).

    Source: Yeung et al., *Unified Focal loss*, Comput. Med. Imaging Graph. 95 (2022) 102026, arXiv 2102.04525. TI of a
    class is TP / (TP + delta FN + (1 - delta) FP). Symmetric: both classes have the exponent. Asymmetric: the
    foreground alone has it, and the background is a plain Tversky loss. The exponent is written as in the paper's
    asymmetric equation and its code; its symmetric equation calls it gamma.

    Foreground and background are a channel and all other voxels, or, with ``include_background`` on more than one
    exclusive channel (any input but ``sigmoid``), channel 0 is the background and all others are foregrounds: then one
    value a sample is the mean over channels. An instance loss takes presence for the foreground of false components.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``. Differentiable in ``input``. The gradient is
    0 where a class is exactly right.

    Args:
        delta: weight of false negatives, in [0, 1].
        gamma: one minus the exponent, in [0, 0.999]; 0 is a Tversky loss.
        asymmetric: no exponent on the background.
        smooth_nr: added to the numerators.
        smooth_dr: added to the denominators.
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: an option of the wrong type, an unknown keyword; on call, an input that is no float tensor, a target
            that is no tensor.
        ValueError: a number out of range, two activations, an unknown ``reduction``; on call, shapes that do not fit, a
            target that is not binary (or labels), probabilities outside [0, 1].

    Example:
        >>> p = torch.tensor([[[[0.5, 0.5], [0.0, 0.0]]]])
        >>> y = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> loss = ModifiedFocalTverskyLoss(delta=0.5, gamma=0.5)
        >>> round(float(loss(p, y)), 4)  # (sqrt(1 - 0.5 / 1) + sqrt(1 - 2.5 / 3)) / 2
        0.5577
    """

    def __init__(
        self,
        *,
        delta: float = 0.6,
        gamma: float = 0.5,
        asymmetric: bool = False,
        smooth_nr: float = 1e-5,
        smooth_dr: float = 1e-5,
        **kwargs: Unpack[InputKeywords],
    ) -> None:
        super().__init__(**kwargs)
        self.delta = checked_number("delta", delta, high=1)
        self.gamma = checked_number("gamma", gamma, high=0.999)
        self.asymmetric = asymmetric
        self.smooth_nr = checked_number("smooth_nr", smooth_nr)
        self.smooth_dr = checked_number("smooth_dr", smooth_dr)

    def score(self, sums: RegionSums) -> torch.Tensor:
        """The mean over foreground and background of each region."""
        return (self._foreground(sums) + self._background(sums)) / 2

    def score_false(self, sums: RegionSums, presence: torch.Tensor) -> torch.Tensor:
        """Presence for the foreground, which is flat, and the background as it is."""
        return (presence + self._background(sums)) / 2

    def score_image(self, sums: RegionSums, channels: int, has_background: bool) -> torch.Tensor:
        """The mean over the classes of each sample where channel 0 is the background, otherwise channel by channel."""
        if not has_background:
            return super().score_image(sums, channels, has_background)
        tp, fp = sums.on["p"], sums.off["p"]
        loss = self._class_loss(tp, fp, sums.target_voxels - tp).view(-1, channels)
        background = loss[:, :1] if self.asymmetric else power(loss[:, :1], 1 - self.gamma)
        return torch.cat([background, power(loss[:, 1:], 1 - self.gamma)], 1).mean(1, keepdim=True)

    def _foreground(self, sums: RegionSums) -> torch.Tensor:
        tp, fp = sums.on["p"], sums.off["p"]
        return power(self._class_loss(tp, fp, sums.target_voxels - tp), 1 - self.gamma)

    def _background(self, sums: RegionSums) -> torch.Tensor:
        fp, fn = sums.off["p"], sums.target_voxels - sums.on["p"]
        tn = sums.voxels - sums.target_voxels - fp
        loss = self._class_loss(tn, fn, fp)
        return loss if self.asymmetric else power(loss, 1 - self.gamma)

    def _class_loss(self, tp: torch.Tensor, fp: torch.Tensor, fn: torch.Tensor) -> torch.Tensor:
        return _complement(tp, (1 - self.delta) * fp + self.delta * fn, self.smooth_nr, self.smooth_dr)


def _complement(tp: torch.Tensor, wrong: torch.Tensor, smooth_nr: float, smooth_dr: float) -> torch.Tensor:
    """1 - (tp + smooth_nr) / (tp + wrong + smooth_dr), without the rounding of 1 minus almost 1."""
    return (wrong + (smooth_dr - smooth_nr)) / (tp + wrong + smooth_dr)
