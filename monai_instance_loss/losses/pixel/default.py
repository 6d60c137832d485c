"""The pixel loss that instance losses take when none is given."""

from __future__ import annotations

import torch
from monai.losses import DiceCELoss, DiceLoss
from torch.nn.modules.loss import _Loss

from monai_instance_loss.losses.inputs import InputOptions

__all__ = ["default_pixel_loss"]


def default_pixel_loss(inputs: InputOptions) -> _Loss:
    """Dice + cross-entropy for logits, Dice for probabilities, with the flags of the loss that asks.

    Source: MONAI's ``DiceCELoss`` and ``DiceLoss``. Cross-entropy needs logits: with ``other_act`` or without
    activation there are none.

    Example:
        >>> type(default_pixel_loss(InputOptions(softmax=True))).__name__
        'DiceCELoss'
    """
    flags = {"include_background": inputs.include_background, "to_onehot_y": inputs.to_onehot_y}
    if inputs.sigmoid and not inputs.to_onehot_y:
        return _DiceBCELoss(sigmoid=True, **flags)
    if inputs.sigmoid or inputs.softmax:
        return DiceCELoss(sigmoid=inputs.sigmoid, softmax=inputs.softmax, **flags)
    return DiceLoss(other_act=inputs.other_act, **flags)


class _DiceBCELoss(DiceCELoss):
    """DiceCELoss for independent channels, where MONAI would take a softmax over them."""

    def ce(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Binary cross-entropy of every channel, the background's only if it is included."""
        first = 0 if self.dice.include_background else 1
        loss: torch.Tensor = self.bce(input[:, first:], target[:, first:])
        return loss
