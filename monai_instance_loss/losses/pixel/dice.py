"""Dice, Jaccard, log-cosh Dice and generalised Dice as RegionLosses."""

from __future__ import annotations

from typing import Literal, Unpack

import torch

from monai_instance_loss._checks import checked_number
from monai_instance_loss.losses.engine.region import InputKeywords, RegionLoss, RegionSums
from monai_instance_loss.losses.engine.voxels import Map, squared

__all__ = ["DiceRegionLoss", "GeneralizedDiceRegionLoss", "JaccardLoss", "LogCoshDiceLoss"]

# the exponent of a class's volume in its weight
_VOLUME_POWER = {"square": 2, "simple": 1, "uniform": 0}


class DiceRegionLoss(RegionLoss):
    """MONAI's ``DiceLoss`` as a RegionLoss, in [0, 1]: 1 - (2 TP + smooth_nr) / (sum p + sum y + smooth_dr).

    Source: Milletari et al., V-Net, 3DV 2016; ``jaccard`` and ``squared_pred`` as in MONAI.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``. Differentiable in ``input``.

    Args:
        jaccard: the Jaccard index instead of Dice.
        squared_pred: squares in the denominator.
        smooth_nr: added to the numerator.
        smooth_dr: added to the denominator.
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: an option of the wrong type, an unknown keyword; on call, an input that is no float tensor, a target
            that is no tensor.
        ValueError: smoothing that is not finite and 0 or more, two activations, an unknown ``reduction``; on call,
            shapes that do not fit, a target that is not binary (or labels), probabilities outside [0, 1].

    Example:
        >>> p = torch.tensor([[[[0.5, 0.5], [0.0, 0.0]]]])
        >>> y = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> round(float(DiceRegionLoss()(p, y)), 4)  # 1 - 2 * 0.5 / (1 + 1)
        0.5
    """

    def __init__(
        self,
        *,
        jaccard: bool = False,
        squared_pred: bool = False,
        smooth_nr: float = 1e-5,
        smooth_dr: float = 1e-5,
        **kwargs: Unpack[InputKeywords],
    ) -> None:
        super().__init__(**kwargs)
        self.jaccard = jaccard
        self.squared_pred = squared_pred
        self.smooth_nr = checked_number("smooth_nr", smooth_nr)
        self.smooth_dr = checked_number("smooth_dr", smooth_dr)

    @property
    def on(self) -> tuple[Map, ...]:
        """The probabilities, and their squares where the denominator wants them."""
        return ("p", squared) if self.squared_pred else ("p",)

    @property
    def off(self) -> tuple[Map, ...]:
        """The probabilities, or their squares."""
        return (squared,) if self.squared_pred else ("p",)

    def score(self, sums: RegionSums) -> torch.Tensor:
        """One minus the Dice (or Jaccard) index of each region."""
        tp, counted = sums.on["p"], squared if self.squared_pred else "p"
        total = sums.on[counted] + sums.off[counted] + sums.target_voxels
        denominator = (2 * (total - tp) if self.jaccard else total) + self.smooth_dr
        # without smoothing, nothing predicted where there is nothing is right
        nothing = denominator == 0
        return torch.where(nothing, 0, 1 - (2 * tp + self.smooth_nr) / torch.where(nothing, 1, denominator))


class JaccardLoss(DiceRegionLoss):
    """Jaccard (IoU) loss, in [0, 1]: 1 - (2 TP + smooth_nr) / (2 (sum p + sum y - TP) + smooth_dr).

    Source: Rahman & Wang, *Optimizing intersection-over-union in deep neural networks for image segmentation*, ISVC
    2016; equal to MONAI's ``DiceLoss(jaccard=True)``.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``. Differentiable in ``input``.

    Args:
        squared_pred: squares in the denominator.
        smooth_nr: added to the numerator.
        smooth_dr: added to the denominator.
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: an option of the wrong type, an unknown keyword; on call, an input that is no float tensor, a target
            that is no tensor.
        ValueError: smoothing that is not finite and 0 or more, two activations, an unknown ``reduction``; on call,
            shapes that do not fit, a target that is not binary (or labels), probabilities outside [0, 1].

    Example:
        >>> p = torch.tensor([[[[0.5, 0.5], [0.0, 0.0]]]])
        >>> y = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> round(float(JaccardLoss()(p, y)), 4)  # 1 - 0.5 / (1 + 1 - 0.5)
        0.6667
    """

    def __init__(
        self,
        *,
        squared_pred: bool = False,
        smooth_nr: float = 1e-5,
        smooth_dr: float = 1e-5,
        **kwargs: Unpack[InputKeywords],
    ) -> None:
        super().__init__(jaccard=True, squared_pred=squared_pred, smooth_nr=smooth_nr, smooth_dr=smooth_dr, **kwargs)


class LogCoshDiceLoss(DiceRegionLoss):
    """Log-cosh Dice, in [0, 0.434]: log(cosh(L)), L = 1 - (2 TP + smooth_nr) / (sum p + sum y + smooth_dr).

    Source: Jadon, *A survey of loss functions for semantic segmentation*, CIBCB 2020, arXiv 2006.14822.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``. Differentiable in ``input``. the gradient
    vanishes as the Dice loss does.

    Args:
        squared_pred: squares in the denominator of Dice.
        smooth_nr: added to the numerator of Dice.
        smooth_dr: added to the denominator of Dice.
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: an option of the wrong type, an unknown keyword; on call, an input that is no float tensor, a target
            that is no tensor.
        ValueError: smoothing that is not finite and 0 or more, two activations, an unknown ``reduction``; on call,
            shapes that do not fit, a target that is not binary (or labels), probabilities outside [0, 1].

    Example:
        >>> p = torch.tensor([[[[0.5, 0.5], [0.0, 0.0]]]])
        >>> y = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> round(float(LogCoshDiceLoss()(p, y)), 4)  # log cosh 0.5
        0.1201
    """

    def __init__(
        self,
        *,
        squared_pred: bool = False,
        smooth_nr: float = 1e-5,
        smooth_dr: float = 1e-5,
        **kwargs: Unpack[InputKeywords],
    ) -> None:
        super().__init__(squared_pred=squared_pred, smooth_nr=smooth_nr, smooth_dr=smooth_dr, **kwargs)

    def score(self, sums: RegionSums) -> torch.Tensor:
        """The log-cosh of each region's Dice loss."""
        return _log_cosh(super().score(sums))

    def score_false(self, sums: RegionSums, presence: torch.Tensor) -> torch.Tensor:
        """The log-cosh of the presence, which stands in for the flat Dice loss."""
        return _log_cosh(presence)


class GeneralizedDiceRegionLoss(RegionLoss):
    """Generalised Dice loss, in [0, 1]: 1 - (2 sum w TP + smooth_nr) / (sum w (sum p + sum y) + smooth_dr).

    Source: Sudre et al., *Generalised Dice overlap as a deep learning loss function for highly unbalanced
    segmentations*, DLMIA 2017; MONAI's ``GeneralizedDiceLoss`` with ``ignore_index``, as a RegionLoss. The outer sums
    run over the classes of a sample, which has one value (``reduction="none"``: (B, 1, 1, ...)). A class that the
    sample lacks weighs as much as the heaviest one. A sample without any class is scored as if each had one voxel;
    MONAI's loss is flat 0 there.

    On one region of an instance loss there is one class: its weight then says how much the smoothing counts.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``. Differentiable in ``input``.

    Args:
        w_type: weight of a class by its number of voxels n: ``"square"`` 1/n^2, ``"simple"`` 1/n, ``"uniform"`` 1.
        smooth_nr: added to the numerator.
        smooth_dr: added to the denominator.
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: an option of the wrong type, an unknown keyword; on call, an input that is no float tensor, a target
            that is no tensor.
        ValueError: an unknown ``w_type``, smoothing that is not finite and 0 or more, two activations, an unknown
            ``reduction``; on call, shapes that do not fit, a target that is not binary (or labels), probabilities
            outside [0, 1].

    Example:
        >>> p = torch.tensor([[[[0.5, 0.5], [1.0, 1.0]], [[0.5, 0.5], [0.0, 0.0]]]])
        >>> y = torch.tensor([[[[0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [0.0, 0.0]]]])
        >>> loss = GeneralizedDiceRegionLoss(smooth_nr=0, smooth_dr=0)
        >>> round(float(loss(p, y)), 4)  # 1 - 2 * (2.5 / 9 + 0.5 / 1) / ((3 + 3) / 9 + (1 + 1) / 1)
        0.4167
    """

    def __init__(
        self,
        *,
        w_type: Literal["square", "simple", "uniform"] = "square",
        smooth_nr: float = 1e-5,
        smooth_dr: float = 1e-5,
        **kwargs: Unpack[InputKeywords],
    ) -> None:
        super().__init__(**kwargs)
        if w_type not in _VOLUME_POWER:
            raise ValueError(f"Expected `w_type` to be one of {list(_VOLUME_POWER)}, but got {w_type!r}.")
        self.w_type = w_type
        self.smooth_nr = checked_number("smooth_nr", smooth_nr)
        self.smooth_dr = checked_number("smooth_dr", smooth_dr)

    def score(self, sums: RegionSums) -> torch.Tensor:
        """The loss of each region, a sample of one class."""
        return self.score_image(sums, 1, False).squeeze(1)

    def score_image(self, sums: RegionSums, channels: int, has_background: bool) -> torch.Tensor:
        """The loss (B, 1) of each sample over its classes."""
        tp, fp, volume = (values.view(-1, channels) for values in (sums.on["p"], sums.off["p"], sums.target_voxels))
        weight = self._weights(volume.to(tp.dtype))
        numerator = 2 * (weight * tp).sum(1, keepdim=True) + self.smooth_nr
        denominator = (weight * (tp + fp + volume)).sum(1, keepdim=True) + self.smooth_dr
        return 1 - numerator / denominator

    def _weights(self, volume: torch.Tensor) -> torch.Tensor:
        inverse = volume.clamp(min=1).pow(-_VOLUME_POWER[self.w_type])
        heaviest = torch.where(volume > 0, inverse, 0).amax(1, keepdim=True)
        return torch.where(volume > 0, inverse, torch.where(heaviest > 0, heaviest, 1))


def _log_cosh(value: torch.Tensor) -> torch.Tensor:
    # as log(cosh) it would lose all digits near 0: cosh x is 1 + x^2 / 2
    return torch.log1p(2 * (value / 2).sinh().square())
