"""The pixel loss that instance losses take when none is given."""

from __future__ import annotations

from typing import Any

from monai.losses import DiceCELoss, DiceLoss
from torch.nn.modules.loss import _Loss

from monai_instance_loss.losses.engine.options import InputOptions
from monai_instance_loss.losses.pixel.compound import DiceCERegionLoss

__all__ = ["default_pixel_loss"]


def default_pixel_loss(inputs: InputOptions) -> _Loss:
    """Dice + cross-entropy for logits, Dice for probabilities, with the flags of the loss that asks.

    Source: MONAI's ``DiceCELoss`` and ``DiceLoss``; for sigmoid, ``DiceCERegionLoss``, which is equal to the former on
    one channel in half the time, and takes no softmax over several. Cross-entropy needs logits: with ``other_act`` or
    without activation there are none.

    Example:
        >>> type(default_pixel_loss(InputOptions(softmax=True))).__name__
        'DiceCELoss'
    """
    flags: dict[str, Any] = {"include_background": inputs.include_background, "to_onehot_y": inputs.to_onehot_y}
    if inputs.sigmoid and not inputs.to_onehot_y:
        return DiceCERegionLoss(sigmoid=True, ignore_index=inputs.ignore_index, **flags)
    if inputs.sigmoid or inputs.softmax:
        return DiceCELoss(sigmoid=inputs.sigmoid, softmax=inputs.softmax, **flags)
    return DiceLoss(other_act=inputs.other_act, **flags)
