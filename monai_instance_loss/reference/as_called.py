"""How the published code calls a criterion: on the probabilities of one region, whatever the criterion is made for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.losses import DiceLoss

__all__ = ["Criterion", "as_called"]

Criterion = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_FLAGS = ("sigmoid", "softmax", "other_act", "to_onehot_y")
# a Dice on a false component is 1 - smooth_nr / (voxels + smooth_dr): 1 to five digits or more
_SMOOTH = 1e-5


def as_called(criterion: Criterion) -> Criterion:
    """The criterion, to be called once a region on (1, 1, *spatial) probabilities and a binary target.

    ``losses`` reads a MONAI or torch loss on logits, or a ``RegionLoss``, off sums over regions, with values of its own
    where the published code has others; behind a function it is only called. MONAI's ``DiceLoss`` stays itself, and in
    one pass over all regions, since both ways have the same value.

    Source: the code of Rachmadi, Byra, Skibbe, Comput. Biol. Med. 174 (2024) 108414. Differentiable as the criterion
    is; a ``DiceLoss`` that stays itself counts a false component by its presence, where it would be flat.

    Example:
        >>> dice = DiceLoss()
        >>> as_called(dice) is dice, as_called(DiceLoss(sigmoid=True)) is dice
        (True, False)
    """
    if not callable(criterion) or _is_plain_dice(criterion):
        # what is not callable is refused where it is used
        return criterion
    return lambda p, target: criterion(p, target)


def _is_plain_dice(criterion: Any) -> bool:
    # a subclass may compute anything
    if type(criterion) is not DiceLoss or any(getattr(criterion, flag) for flag in _FLAGS):
        return False
    return bool(criterion.smooth_nr <= _SMOOTH)
