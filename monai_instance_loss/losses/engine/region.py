"""RegionLoss: a criterion as a function of region sums, which makes one pass enough for any number of regions."""

from __future__ import annotations

from abc import abstractmethod

import torch

from monai_instance_loss.losses.engine.batch import Volume
from monai_instance_loss.losses.engine.image import ImageLoss
from monai_instance_loss.losses.engine.sums import RegionSums
from monai_instance_loss.losses.engine.voxels import Voxels

__all__ = ["RegionLoss", "RegionSums"]


class RegionLoss(ImageLoss):
    """A segmentation criterion that needs only sums over a region: some maps of p, and a function of their sums.

    Called on (input, target) it is an ordinary MONAI loss, with each sample's channel as a region; given to an instance
    loss as its criterion it scores every region of the batch in one pass. The maps are those of the probability alone;
    where the target is, is told by summing some on the target and some off it. A map that is summed off the target must
    be 0 at p = 0, so that voxels outside a region add nothing; a target voxel outside a region adds nothing to any map.

    Source: ours; the criteria name theirs. Arguments, shapes, types, differentiability and errors as in ``ImageLoss``.
    """

    @abstractmethod
    def on_maps(self, voxels: Voxels) -> tuple[torch.Tensor, ...]:
        """The maps, of the shape of ``voxels``, whose sums over the target ``score`` needs."""

    def off_maps(self, voxels: Voxels) -> tuple[torch.Tensor, ...]:
        """The maps whose sums off the target ``score`` needs; the same ones by default."""
        return self.on_maps(voxels)

    @abstractmethod
    def score(self, sums: RegionSums) -> torch.Tensor:
        """The criterion's value (R,) on each of R regions."""

    def score_false(self, sums: RegionSums, presence: torch.Tensor) -> torch.Tensor:
        """The value (R,) on regions without target, by default their presence (R,): an overlap is flat there."""
        return presence

    def score_image(self, sums: RegionSums, channels: int) -> torch.Tensor:
        """Values (B, channels) of the channels of B samples, or (B, 1) where a loss takes all classes together."""
        return self.score(sums).view(-1, channels)

    def image_values(self, volume: Volume) -> torch.Tensor:
        """The criterion on each sample's channel."""
        return self.score_image(volume.sums(self.on_maps, self.off_maps), volume.shape[1])
