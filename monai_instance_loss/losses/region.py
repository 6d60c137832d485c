"""Criteria as functions of region sums: what makes one pass over the foreground enough for every instance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from monai.losses import DiceLoss

__all__ = ["Criterion", "DiceRegion", "RegionLoss", "RegionSums", "as_criterion"]


@dataclass(frozen=True, eq=False)
class RegionSums:
    """Sums over R regions, of a criterion's maps on the target's voxels and off them.

    Attributes:
        on: one (R,) a map, summed over the region's target voxels.
        off: one (R,) a map, summed over the region's other voxels.
        target_voxels: (R,) number of target voxels, those where the probability is masked to 0 included.
    """

    on: tuple[torch.Tensor, ...]
    off: tuple[torch.Tensor, ...]
    target_voxels: torch.Tensor


class RegionLoss(ABC):
    """A segmentation criterion that needs only sums over a region: some maps of p, and a function of their sums.

    The maps are those of the probability alone; where the target is, is told by summing them on and off the target. A
    map must be 0 at p = 0, so that voxels masked out of a region add nothing.
    """

    @abstractmethod
    def maps(self, p: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The maps (V,) of the probabilities (V,) whose sums ``score`` needs."""

    @abstractmethod
    def score(self, sums: RegionSums) -> torch.Tensor:
        """The criterion's value (R,) on each of R regions."""

    def presence_scores_false(self) -> bool:
        """Whether a region without target is scored by its presence, because the criterion itself is flat there."""
        return True


@dataclass(frozen=True)
class DiceRegion(RegionLoss):
    """MONAI's ``DiceLoss`` on regions, in [0, 1]: 1 - (2 TP + smooth_nr) / (sum p + sum y + smooth_dr).

    Source: Milletari et al., V-Net, 3DV 2016; ``jaccard`` and ``squared_pred`` as in MONAI.
    """

    jaccard: bool = False
    squared_pred: bool = False
    smooth_nr: float = 1e-5
    smooth_dr: float = 1e-5

    def maps(self, p: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The probabilities, and their squares where the denominator wants them."""
        return (p, p.square()) if self.squared_pred else (p,)

    def score(self, sums: RegionSums) -> torch.Tensor:
        """One minus the Dice (or Jaccard) index of each region."""
        tp = sums.on[0]
        total = sums.on[-1] + sums.off[-1] + sums.target_voxels
        denominator = 2 * (total - tp) if self.jaccard else total
        return 1 - (2 * tp + self.smooth_nr) / (denominator + self.smooth_dr)


# a criterion on (1, 1, *spatial) probabilities and binary target, when it is not a RegionLoss
Criterion = RegionLoss | Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def as_criterion(name: str, loss: Any) -> Criterion:
    """Turn what the user passed as a criterion into a RegionLoss where that is exact, and check it otherwise.

    Args:
        name: the argument, for errors.
        loss: None (Dice), a RegionLoss, MONAI's ``DiceLoss`` as configured, or any callable on probabilities.

    Raises:
        TypeError: ``loss`` is not callable.
        ValueError: ``loss`` applies an activation or takes more than one channel; a criterion gets probabilities of one
            class.
    """
    if loss is None:
        return DiceRegion()
    if isinstance(loss, RegionLoss):
        return loss
    if not callable(loss):
        raise TypeError(f"Expected `{name}` to be None or a loss on (input, target), but got {type(loss).__name__}.")
    for flag in ("sigmoid", "softmax", "use_softmax", "other_act", "to_onehot_y"):
        if getattr(loss, flag, None):
            raise ValueError(
                f"Expected `{name}` to be a criterion on the probabilities of one class, without activation or "
                f"one-hot, but got {type(loss).__name__} with {flag}={getattr(loss, flag)}."
            )
    # a subclass may compute anything, so only the class itself is taken for what it is; MONAI applies class weights to
    # several classes only, and `batch` is nothing on one region
    if type(loss) is DiceLoss and not loss.soft_label and loss.ignore_index is None:
        return DiceRegion(loss.jaccard, loss.squared_pred, loss.smooth_nr, loss.smooth_dr)
    return loss
