"""Weighted sums of RegionLosses, which are RegionLosses again: Dice + CE, combo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import nn

from monai_instance_loss._checks import checked_number
from monai_instance_loss.losses.engine.options import InputOptions
from monai_instance_loss.losses.engine.region import InputKeywords, RegionLoss, RegionSums
from monai_instance_loss.losses.engine.voxels import Map
from monai_instance_loss.losses.pixel.class_weights import ClassWeight, checked_class_weight
from monai_instance_loss.losses.pixel.cross_entropy import BinaryCELoss, WeightedCELoss
from monai_instance_loss.losses.pixel.dice import DiceRegionLoss

__all__ = ["ComboLoss", "CompoundRegionLoss", "DiceCERegionLoss"]


class CompoundRegionLoss(RegionLoss):
    """A weighted sum of RegionLosses, 0 or more: w_1 L_1 + w_2 L_2 + ..., in one pass.

    Source: ours. The maps of all parts are summed at once. A false component is scored part by part: presence for
    overlaps, its own value for cross-entropies. So is a channel that is the background of exclusive classes.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``. Differentiable in ``input``.

    Args:
        parts: one or more RegionLosses; input options belong to the sum and not to them.
        weights: one weight a part, 0 or more; all 1 by default.
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: a part that is no RegionLoss, an option of the wrong type, an unknown keyword; on call, an input that
            is no float tensor, a target that is no tensor.
        ValueError: no part, not one weight a part, a weight that is not finite and 0 or more, a part with input options
            of its own, two activations, an unknown ``reduction``; on call, shapes that do not fit, a target that is not
            binary (or labels), probabilities outside [0, 1].

    Example:
        >>> loss = CompoundRegionLoss([DiceRegionLoss(), BinaryCELoss()], weights=[1, 0.5], sigmoid=True)
        >>> y = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> round(float(loss(torch.zeros(1, 1, 2, 2), y)), 4)  # 1 - 2 * 0.5 / (2 + 1) + 0.5 * log 2
        1.0132
    """

    def __init__(
        self, parts: Sequence[RegionLoss], *, weights: Sequence[float] | None = None, **kwargs: Unpack[InputKeywords]
    ) -> None:
        super().__init__(**kwargs)
        weights = [1.0] * len(parts) if weights is None else weights
        if not parts or len(weights) != len(parts):
            raise ValueError(f"Expected `weights` to have one weight a part, but got {len(weights)} for {len(parts)}.")
        for part in parts:
            if not isinstance(part, RegionLoss):
                raise TypeError(f"Expected `parts` to be RegionLosses, but got {type(part).__name__}.")
            if part.inputs not in (InputOptions(), self.inputs):
                raise ValueError(
                    f"Expected `parts` to have no input options of their own, but got {type(part).__name__} with "
                    f"{part.inputs}."
                )
        self.parts = nn.ModuleList(parts)
        self.weights = [checked_number("weights", weight) for weight in weights]

    @property
    def on(self) -> tuple[Map, ...]:
        """The maps of all parts."""
        return tuple(dict.fromkeys(name for part in self._losses() for name in part.on))

    @property
    def off(self) -> tuple[Map, ...]:
        """The maps of all parts."""
        return tuple(dict.fromkeys(name for part in self._losses() for name in part.off))

    def score(self, sums: RegionSums) -> torch.Tensor:
        """The weighted sum of the parts' values."""
        return self._weighted([part.score(sums) for part in self._losses()])

    def score_false(self, sums: RegionSums, presence: torch.Tensor) -> torch.Tensor:
        """The weighted sum of the parts' values on regions without target."""
        return self._weighted([part.score_false(sums, presence) for part in self._losses()])

    def score_background(self, sums: RegionSums) -> torch.Tensor:
        """The weighted sum of the parts' values on the background of exclusive classes."""
        return self._weighted([part.score_background(sums) for part in self._losses()])

    def score_image(self, sums: RegionSums, channels: int, has_background: bool) -> torch.Tensor:
        """The weighted sum of the parts' values on whole images."""
        return self._weighted([part.score_image(sums, channels, has_background) for part in self._losses()])

    def _losses(self) -> list[RegionLoss]:
        return [part for part in self.parts if isinstance(part, RegionLoss)]

    def _weighted(self, values: list[torch.Tensor]) -> torch.Tensor:
        total = self.weights[0] * values[0]
        for weight, value in zip(self.weights[1:], values[1:], strict=True):
            total = total + weight * value
        return total


class DiceCERegionLoss(CompoundRegionLoss):
    """Dice + cross-entropy, 0 or more: lambda_dice L_Dice - lambda_ce mean of (y log p + (1 - y) log(1 - p)).

    Source: Isensee et al., nnU-Net, Nature Methods 18 (2021); on one channel it is MONAI's ``DiceCELoss(sigmoid=True)``
    as a RegionLoss, on several it scores each against the rest, in both parts, where MONAI takes a softmax over them.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``. Differentiable in ``input``.

    Args:
        lambda_dice: weight of Dice, 0 or more.
        lambda_ce: weight of the cross-entropy, 0 or more.
        squared_pred: squares in the denominator of Dice.
        smooth_nr: added to the numerator of Dice.
        smooth_dr: added to the denominator of Dice.
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: an option of the wrong type, an unknown keyword; on call, an input that is no float tensor, a target
            that is no tensor.
        ValueError: a number that is not finite and 0 or more, two activations, an unknown ``reduction``; on call,
            shapes that do not fit, a target that is not binary (or labels), probabilities outside [0, 1].

    Example:
        >>> y = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> loss = DiceCERegionLoss(sigmoid=True)
        >>> round(float(loss(torch.zeros(1, 1, 2, 2), y)), 4)  # 1 - 2 * 0.5 / (2 + 1) + log 2
        1.3598
    """

    def __init__(
        self,
        *,
        lambda_dice: float = 1.0,
        lambda_ce: float = 1.0,
        squared_pred: bool = False,
        smooth_nr: float = 1e-5,
        smooth_dr: float = 1e-5,
        **kwargs: Unpack[InputKeywords],
    ) -> None:
        dice = DiceRegionLoss(squared_pred=squared_pred, smooth_nr=smooth_nr, smooth_dr=smooth_dr)
        weights = [checked_number("lambda_dice", lambda_dice), checked_number("lambda_ce", lambda_ce)]
        super().__init__([dice, BinaryCELoss()], weights=weights, **kwargs)


class ComboLoss(CompoundRegionLoss):
    """Combo loss, 0 or more: alpha CE + (1 - alpha) Dice, CE = mean of -(beta y log p + (1 - beta) (1 - y) log(1 - p)).

    Source: Taghanaki et al., *Combo loss: handling input and output imbalance in multi-organ segmentation*, Comput.
    Med. Imaging Graph. 75 (2019), arXiv 1805.02798. The paper subtracts the Dice index where this adds the Dice loss:
    1 - alpha more, with the same gradient, and never below 0.

    Background: on more than one exclusive channel with ``include_background`` (any activation but ``sigmoid``), channel
    0 is the background of the others: the cross-entropy of its target's voxels weighs 1 - beta and that of all others
    beta. The cross-entropy of two softmax channels is so that of one sigmoid channel; Dice is the mean over channels,
    as in MONAI.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``. Differentiable in ``input``.

    Args:
        alpha: share of the cross-entropy, in [0, 1].
        beta: weight of target voxels in the cross-entropy, in [0, 1], and 1 - beta of all others; above 0.5 it punishes
            false negatives more. Or one a scored channel, which stays with that channel; an instance loss does not take
            the loss as a criterion then.
        smooth_nr: added to the numerator of Dice.
        smooth_dr: added to the denominator of Dice.
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: an option of the wrong type, an unknown keyword; on call, an input that is no float tensor, a target
            that is no tensor.
        ValueError: a number out of range, two activations, an unknown ``reduction``; on call, shapes that do not fit,
            not one ``beta`` a scored channel, a target that is not binary (or labels), probabilities outside [0, 1].

    Example:
        >>> y = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> loss = ComboLoss(alpha=0.5, beta=0.6, sigmoid=True)
        >>> round(float(loss(torch.zeros(1, 1, 2, 2), y)), 4)  # 0.5 * (0.6 + 3 * 0.4) / 4 * log 2 + 0.5 * 2 / 3
        0.4893
    """

    def __init__(
        self,
        *,
        alpha: float = 0.5,
        beta: float | Sequence[float] = 0.5,
        smooth_nr: float = 1e-5,
        smooth_dr: float = 1e-5,
        **kwargs: Unpack[InputKeywords],
    ) -> None:
        alpha, beta_of_class = checked_number("alpha", alpha, high=1), checked_class_weight("beta", beta, high=1)
        parts = [_ComboCE(beta_of_class), DiceRegionLoss(smooth_nr=smooth_nr, smooth_dr=smooth_dr)]
        super().__init__(parts, weights=[alpha, 1 - alpha], **kwargs)


class _ComboCE(WeightedCELoss):
    """Cross-entropy with weights that add up to 1."""

    weight_names = ("beta", "beta")

    def __init__(self, beta: ClassWeight) -> None:
        rest = tuple(1 - share for share in beta) if isinstance(beta, tuple) else 1 - beta
        super().__init__(pos_weight=beta, neg_weight=rest)
