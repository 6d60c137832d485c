"""What instance losses take as a criterion: a RegionLoss, a MONAI or torch loss that is one, or any callable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.losses import DiceCELoss, DiceFocalLoss, DiceLoss, FocalLoss, GeneralizedDiceLoss, TverskyLoss
from torch.nn import BCEWithLogitsLoss, CrossEntropyLoss

from monai_instance_loss.losses.engine.region import RegionLoss, RegionSums
from monai_instance_loss.losses.engine.voxels import Map, one
from monai_instance_loss.losses.pixel.class_weights import ClassWeightedLoss
from monai_instance_loss.losses.pixel.compound import CompoundRegionLoss
from monai_instance_loss.losses.pixel.cross_entropy import BinaryCELoss, WeightedCELoss
from monai_instance_loss.losses.pixel.dice import DiceRegionLoss, GeneralizedDiceRegionLoss
from monai_instance_loss.losses.pixel.focal import FocalRegionLoss
from monai_instance_loss.losses.pixel.tversky import TverskyRegionLoss

__all__ = ["Criterion", "as_criterion"]

# on (1, 1, *spatial) probabilities and binary target, when it is not a RegionLoss
Criterion = RegionLoss | Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_ACTIVATIONS = ("sigmoid", "softmax", "use_softmax", "other_act", "to_onehot_y")


def as_criterion(name: str, loss: Any) -> Criterion:
    """Turn what the user passed as a criterion into a RegionLoss where that is exact, and check it otherwise.

    A criterion scores one class against the rest. Of a region it sees what the loss at hand takes:

    - Losses on probabilities (MONAI's ``DiceLoss``, ``GeneralizedDiceLoss``, ``TverskyLoss``) get the probability, and
      an activation of their own is an error.
    - Losses on logits by nature (torch's ``BCEWithLogitsLoss`` and ``CrossEntropyLoss``, MONAI's ``FocalLoss``,
      ``DiceCELoss`` and ``DiceFocalLoss``) get the logit of the class against the rest. ``sigmoid=True`` is then what
      their Dice part has anyway; a softmax over one channel is an error. ``CrossEntropyLoss`` is that of two classes,
      the rest and the class, and so takes two weights.
    - Any other callable gets probabilities masked by the region: one call an instance on a whole volume.

    The first two are turned into RegionLosses, which score all regions in one pass, with the value that the loss has
    where the probability outside the region is 0. Of a target voxel outside its region (on the side of the predicted
    instances) overlaps know that it is missing; a cross-entropy, infinite there, leaves it out. ``batch``, class
    weights in a Dice part and label smoothing in ``DiceCELoss`` mean nothing to MONAI on one channel, nor here.

    Args:
        name: the argument, for errors.
        loss: None (Dice), a RegionLoss, a MONAI or torch loss as configured, or any callable on probabilities.

    Raises:
        TypeError: ``loss`` is not callable.
        ValueError: ``loss`` applies an activation or a one-hot to its input; or takes logits and is configured in a
            way that means nothing for one class (several class weights, say), or is a subclass of such a loss.

    Example:
        >>> as_criterion("instance_loss", FocalLoss(gamma=3)).gamma
        3.0
    """
    if loss is None:
        return DiceRegionLoss()
    if not callable(loss):
        raise TypeError(f"Expected `{name}` to be None or a loss on (input, target), but got {type(loss).__name__}.")
    # a subclass may compute anything, so only the class itself is taken for what it is
    kind = type(loss)
    try:
        if kind in _ON_LOGITS:
            return _ON_LOGITS[kind](loss)
        _check_flags(loss.inputs if isinstance(loss, RegionLoss) else loss, _ACTIVATIONS)
        _check_one_class(loss)
        if isinstance(loss, tuple(_ON_LOGITS)):
            raise _UnfitError("logits for its input, and a forward that may be anything")
    except _UnfitError as unfit:
        raise ValueError(
            f"Expected `{name}` to be a criterion on the probabilities of one class, without activation or one-hot, or "
            f"a known loss on its logits, but got {kind.__name__} with {unfit}."
        ) from None
    adapted = _ON_PROBABILITIES[kind](loss) if kind in _ON_PROBABILITIES else None
    return loss if adapted is None else adapted


class _UnfitError(Exception):
    """What about a loss makes it unfit for a criterion."""


def _check_flags(loss: Any, flags: tuple[str, ...]) -> None:
    for flag in flags:
        if getattr(loss, flag, None):
            raise _UnfitError(f"{flag}={getattr(loss, flag)}")


def _check_one_class(loss: Any) -> None:
    for part in loss.modules() if isinstance(loss, RegionLoss) else ():
        if isinstance(part, ClassWeightedLoss) and part.has_channel_weights:
            raise _UnfitError(f"one {part.weight_names[0]} a channel, where one class is scored")


def _is_plain(loss: Any) -> bool:
    """Whether the loss takes every value of a binary target for what it is."""
    return not getattr(loss, "soft_label", False) and getattr(loss, "ignore_index", None) not in (0, 1)


def _check_ignored(loss: Any) -> None:
    if not _is_plain(loss):
        raise _UnfitError(f"ignore_index={loss.ignore_index}, a value of a binary target")


def _number(loss: Any, name: str, default: float) -> float:
    value = getattr(loss, name)
    if value is None:
        return default
    tensor = torch.as_tensor(value)
    if tensor.numel() != 1:
        raise _UnfitError(f"{tensor.numel()} values of {name}")
    return float(tensor)


def _dice(loss: DiceLoss) -> RegionLoss | None:
    return _region_dice(loss) if _is_plain(loss) else None


def _tversky(loss: TverskyLoss) -> RegionLoss | None:
    if not _is_plain(loss):
        return None
    return TverskyRegionLoss(
        alpha=float(loss.alpha), beta=float(loss.beta), smooth_nr=loss.smooth_nr, smooth_dr=loss.smooth_dr
    )


def _generalized_dice(loss: GeneralizedDiceLoss) -> RegionLoss | None:
    return (
        _MonaiGeneralizedDice(w_type=loss.w_type.value, smooth_nr=loss.smooth_nr, smooth_dr=loss.smooth_dr)
        if _is_plain(loss)
        else None
    )


def _focal(loss: FocalLoss) -> RegionLoss:
    _check_flags(loss, ("use_softmax", "to_onehot_y"))
    _check_ignored(loss)
    _check_reduced(loss)
    if loss.class_weight is not None and loss.class_weight.ndim:
        raise _UnfitError(f"{loss.class_weight.numel()} class weights")
    if isinstance(loss.alpha, torch.Tensor) and loss.alpha.ndim:
        raise _UnfitError(f"{loss.alpha.numel()} values of alpha")
    alpha = None if loss.alpha is None else float(loss.alpha)
    focal, weight = FocalRegionLoss(gamma=float(loss.gamma), alpha=alpha), _number(loss, "class_weight", 1.0)
    return focal if weight == 1 else CompoundRegionLoss([focal], weights=[weight])


def _bce(loss: BCEWithLogitsLoss) -> RegionLoss:
    weight, pos_weight = _number(loss, "weight", 1.0), _number(loss, "pos_weight", 1.0)
    return _over_voxels(WeightedCELoss(pos_weight=weight * pos_weight, neg_weight=weight), loss)


def _cross_entropy(loss: CrossEntropyLoss) -> RegionLoss:
    _check_flags(loss, ("label_smoothing",))
    _check_ignored(loss)
    if loss.weight is None:
        return _over_voxels(BinaryCELoss(), loss)
    if loss.weight.numel() != 2:
        raise _UnfitError(f"{loss.weight.numel()} values of weight, where the rest and the class want two")
    neg_weight, pos_weight = loss.weight.tolist()
    # torch divides by the sum of the weights
    ce = _WeightedMeanCE if loss.reduction == "mean" else WeightedCELoss
    return _over_voxels(ce(pos_weight=pos_weight, neg_weight=neg_weight), loss)


def _dice_ce(loss: DiceCELoss) -> RegionLoss:
    return _with_dice(loss, _bce(loss.binary_cross_entropy), loss.lambda_ce)


def _dice_focal(loss: DiceFocalLoss) -> RegionLoss:
    _check_flags(loss, ("to_onehot_y",))
    return _with_dice(loss, _focal(loss.focal), loss.lambda_focal)


def _with_dice(loss: Any, other: RegionLoss, weight: float) -> RegionLoss:
    _check_flags(loss.dice, ("softmax", "other_act", "to_onehot_y"))
    return CompoundRegionLoss([_region_dice(loss.dice), other], weights=[float(loss.lambda_dice), float(weight)])


def _region_dice(loss: DiceLoss) -> DiceRegionLoss:
    return DiceRegionLoss(
        jaccard=loss.jaccard, squared_pred=loss.squared_pred, smooth_nr=loss.smooth_nr, smooth_dr=loss.smooth_dr
    )


def _check_reduced(loss: Any) -> None:
    if loss.reduction == "none":
        raise _UnfitError('reduction="none", which is one number a voxel')


def _over_voxels(mean: RegionLoss, loss: Any) -> RegionLoss:
    _check_reduced(loss)
    return _VoxelSum([mean]) if loss.reduction == "sum" else mean


class _VoxelSum(CompoundRegionLoss):
    """The sum over voxels of a criterion that is their mean."""

    def score(self, sums: RegionSums) -> torch.Tensor:
        return super().score(sums) * sums.voxels

    def score_false(self, sums: RegionSums, presence: torch.Tensor) -> torch.Tensor:
        return self.score(sums)


class _WeightedMeanCE(WeightedCELoss):
    """Weighted cross-entropy over the sum of the weights."""

    @property
    def on(self) -> tuple[Map, ...]:
        # target voxels outside the region are left out of the weights as they are of the cross-entropy
        return "ce_on", one

    def weighted(
        self, sums: RegionSums, on: float | torch.Tensor, off: float | torch.Tensor, background: bool
    ) -> torch.Tensor:
        counted = sums.on[one]
        total = on * sums.on["ce_on"] + off * sums.off["ce_off"]
        return total / (on * counted + off * (sums.voxels - counted))


class _MonaiGeneralizedDice(GeneralizedDiceRegionLoss):
    """With MONAI's value on a region without target, where all its weights but uniform ones are 0."""

    def score(self, sums: RegionSums) -> torch.Tensor:
        value = super().score(sums)
        if self.w_type == "uniform":
            return value
        # as a tensor, since without smoothing MONAI's value is NaN rather than an error
        flat = 1 - torch.full_like(value, self.smooth_nr) / self.smooth_dr
        return torch.where(sums.target_voxels > 0, value, flat)


_ON_PROBABILITIES: dict[type, Callable[[Any], RegionLoss | None]] = {
    DiceLoss: _dice,
    GeneralizedDiceLoss: _generalized_dice,
    TverskyLoss: _tversky,
}
_ON_LOGITS: dict[type, Callable[[Any], RegionLoss]] = {
    BCEWithLogitsLoss: _bce,
    CrossEntropyLoss: _cross_entropy,
    DiceCELoss: _dice_ce,
    DiceFocalLoss: _dice_focal,
    FocalLoss: _focal,
}
