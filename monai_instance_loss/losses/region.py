"""RegionLoss: a criterion as a function of region sums, which makes one pass enough for any number of regions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.modules.loss import _Loss

from monai_instance_loss.losses.inputs import InputOptions
from monai_instance_loss.losses.probability import Voxels
from monai_instance_loss.losses.reduction import checked_reduction, reduce_blocks

__all__ = ["RegionLoss", "RegionSums"]


@dataclass(frozen=True, eq=False)
class RegionSums:
    """Sums over R regions, of a criterion's maps on the target's voxels and off them.

    Attributes:
        on: one (R,) a map, summed over the region's target voxels.
        off: one (R,) a map, summed over the region's other voxels.
        target_voxels: (R,) number of target voxels, those where the probability is masked to 0 included.
        voxels: (R,) number of voxels that a mean over the region is taken over, those masked to 0 included.
    """

    on: tuple[torch.Tensor, ...]
    off: tuple[torch.Tensor, ...]
    target_voxels: torch.Tensor
    voxels: torch.Tensor


class RegionLoss(_Loss, ABC):
    """A segmentation criterion that needs only sums over a region: some maps of p, and a function of their sums.

    Called on (input, target) it is an ordinary MONAI loss, with each sample's channel as a region; given to an instance
    loss as its criterion it scores every region of the batch in one pass. The maps are those of the probability alone;
    where the target is, is told by summing them on and off the target. A map that is summed off the target must be 0 at
    p = 0, so that voxels outside a region add nothing; a target voxel outside a region adds nothing to any map.

    Source: ours; the criteria name theirs.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target as
    in ``monai.losses.DiceLoss``. Differentiable in ``input``.

    Args:
        include_background: as in MONAI's ``DiceLoss``: False leaves channel 0 out.
        to_onehot_y: the target is (B, 1, *spatial) class labels.
        sigmoid: ``input`` are logits of independent channels.
        softmax: ``input`` are logits of exclusive classes; each is scored against the rest.
        other_act: an activation that gives probabilities.
        ignore_index: target value of voxels to leave out, as in MONAI's ``DiceLoss``.
        reduction: ``"mean"`` or ``"sum"`` over samples and channels, or ``"none"`` for (B, C, 1, ...).

    Raises:
        TypeError, ValueError: as in ``InstanceLoss``.
    """

    def __init__(
        self,
        include_background: bool = True,
        to_onehot_y: bool = False,
        sigmoid: bool = False,
        softmax: bool = False,
        other_act: Callable[[torch.Tensor], torch.Tensor] | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=checked_reduction(reduction))
        self.inputs = InputOptions(include_background, to_onehot_y, sigmoid, softmax, other_act, ignore_index)

    @property
    def ignore_index(self) -> int | None:
        """The target value of voxels to leave out."""
        return self.inputs.ignore_index

    @abstractmethod
    def maps(self, voxels: Voxels) -> tuple[torch.Tensor, ...]:
        """The maps, of the shape of ``voxels``, whose sums ``score`` needs."""

    @abstractmethod
    def score(self, sums: RegionSums) -> torch.Tensor:
        """The criterion's value (R,) on each of R regions."""

    def score_false(self, sums: RegionSums, presence: torch.Tensor) -> torch.Tensor:
        """The value (R,) on regions without target, by default their presence (R,): an overlap is flat there."""
        return presence

    def score_image(self, sums: RegionSums, channels: int) -> torch.Tensor:
        """Values (B, channels) of the channels of B samples, or (B, 1) where a loss takes all classes together."""
        return self.score(sums).view(-1, channels)

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The criterion on each sample's channel, reduced."""
        prepared = self.inputs.prepare(input, target)
        batch, channels = prepared.target.shape[:2]
        if prepared.target.numel() == 0:
            return reduce_blocks(prepared.probability.zero().expand(batch, channels), self.reduction, input.ndim)
        voxels = prepared.probability.blocks(torch.arange(batch * channels, device=input.device))
        sums = self._block_sums(voxels, prepared.target.flatten(0, 1), prepared.ignored, channels)
        return reduce_blocks(self.score_image(sums, channels), self.reduction, input.ndim)

    def _block_sums(
        self, voxels: Voxels, target: torch.Tensor, ignored: torch.Tensor | None, channels: int
    ) -> RegionSums:
        target = target.flatten(1)
        kept = torch.ones_like(target)
        if ignored is not None:
            kept = ~ignored.expand(-1, channels, *ignored.shape[2:]).flatten(0, 1).flatten(1)
        on, off = [], []
        for values in self.maps(voxels):
            flat = values.flatten(1)
            on.append(torch.where(target & kept, flat, 0).sum(1))
            off.append(torch.where(kept & ~target, flat, 0).sum(1))
        return RegionSums(tuple(on), tuple(off), (target & kept).sum(1), kept.sum(1))

    def extra_repr(self) -> str:
        """The configuration, for ``repr``."""
        options = {name: value for name, value in vars(self).items() if not name.startswith("_") and name != "training"}
        return ", ".join(f"{name}={value!r}" for name, value in options.items())
