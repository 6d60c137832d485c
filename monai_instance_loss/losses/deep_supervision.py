"""DeepSupervisionLoss: MONAI's, with voxel sizes that follow the resolution of each level."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from monai.losses import DeepSupervisionLoss as _DeepSupervisionLoss

__all__ = ["DeepSupervisionLoss"]


class DeepSupervisionLoss(_DeepSupervisionLoss):
    """A loss on every level of a deeply supervised network, 0 or more: MONAI's weighted sum over the levels.

    Source: MONAI's ``DeepSupervisionLoss``, which gives the loss a smaller target at a smaller level and leaves its
    ``spacing_mm`` as it is. That is right where all axes shrink alike and distances only matter relative to each other;
    a network that halves the rows and columns of thick slices only changes the shape of a voxel. Here a level of 1/2
    the size has voxels of twice the size, for the loss and for every loss inside it.

    Shapes: input is a list of (B, C, *spatial), the full resolution first, or one such tensor; target as for the loss.
    Arguments, differentiability and errors as in MONAI's.

    Example:
        >>> from monai_instance_loss.losses import CCLoss
        >>> target = torch.zeros(1, 1, 8, 16)
        >>> target[0, 0, 2:4, 2:4] = target[0, 0, 5:7, 9:13] = 1
        >>> levels = [torch.zeros(1, 1, 8, 16), torch.zeros(1, 1, 8, 8)]
        >>> loss = DeepSupervisionLoss(CCLoss(sigmoid=True, spacing_mm=(3, 1)))
        >>> loss.at_size(levels[1].shape[2:], target.shape[2:]).spacing_mm
        (3.0, 2.0)
        >>> bool(loss(levels, target) > 0)
        True
    """

    def get_loss(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss of one level."""
        level = _DeepSupervisionLoss(self.at_size(input.shape[2:], target.shape[2:]))
        level.interp_mode = self.interp_mode
        value: torch.Tensor = level.get_loss(input, target)
        return value

    def at_size(self, size: Sequence[int], full_size: Sequence[int]) -> torch.nn.Module:
        """The loss for a level of ``size`` of a volume of ``full_size`` voxels; it shares its parameters."""
        loss: torch.nn.Module = self.loss
        if tuple(size) == tuple(full_size):
            return loss
        return _rescaled(loss, [full / part for part, full in zip(size, full_size, strict=True)])


def _rescaled(loss: torch.nn.Module, factors: Sequence[float]) -> torch.nn.Module:
    """A shallow copy with every ``spacing_mm`` times the factors; a forward must not change the loss itself."""
    if not any(getattr(part, "spacing_mm", None) for part in loss.modules()):
        return loss
    rescaled = copy.copy(loss)
    rescaled._modules = {
        name: part if part is None else _rescaled(part, factors) for name, part in loss._modules.items()
    }
    spacing = getattr(loss, "spacing_mm", None)
    if spacing:
        vars(rescaled)["spacing_mm"] = tuple(step * factor for step, factor in zip(spacing, factors, strict=True))
    return rescaled
