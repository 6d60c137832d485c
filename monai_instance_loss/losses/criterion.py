"""What instance losses take as a criterion: a RegionLoss, a MONAI or torch loss that is one, or any callable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.losses import DiceLoss

from monai_instance_loss.losses.pixel.overlap import DiceRegionLoss
from monai_instance_loss.losses.region import RegionLoss

__all__ = ["Criterion", "as_criterion"]

# on (1, 1, *spatial) probabilities and binary target, when it is not a RegionLoss
Criterion = RegionLoss | Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_ACTIVATIONS = ("sigmoid", "softmax", "use_softmax", "other_act", "to_onehot_y")


def as_criterion(name: str, loss: Any) -> Criterion:
    """Turn what the user passed as a criterion into a RegionLoss where that is exact, and check it otherwise.

    Args:
        name: the argument, for errors.
        loss: None (Dice), a RegionLoss, MONAI's ``DiceLoss`` as configured, or any callable on probabilities.

    Raises:
        TypeError: ``loss`` is not callable.
        ValueError: ``loss`` applies an activation or a one-hot; a criterion gets probabilities of one class.
    """
    if loss is None:
        return DiceRegionLoss()
    if not callable(loss):
        raise TypeError(f"Expected `{name}` to be None or a loss on (input, target), but got {type(loss).__name__}.")
    # compounds keep their flags on their parts
    parts = loss.modules() if isinstance(loss, torch.nn.Module) else (loss,)
    for part in parts:
        flags = part.inputs if isinstance(part, RegionLoss) else part
        for flag in _ACTIVATIONS:
            if getattr(flags, flag, None):
                raise ValueError(
                    f"Expected `{name}` to be a criterion on the probabilities of one class, without activation or "
                    f"one-hot, but got {type(loss).__name__} with {flag}={getattr(flags, flag)}."
                )
    # a subclass may compute anything, so only the class itself is taken for what it is; MONAI applies class weights to
    # several classes only, and `batch` is nothing on one region
    if type(loss) is DiceLoss and not loss.soft_label and loss.ignore_index is None:
        return DiceRegionLoss(loss.jaccard, loss.squared_pred, loss.smooth_nr, loss.smooth_dr)
    return loss
