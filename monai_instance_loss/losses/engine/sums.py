"""What a criterion knows of a region: sums over it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["RegionSums"]


@dataclass(frozen=True, eq=False)
class RegionSums:
    """Sums of a criterion's maps over R regions: of some on the target's voxels, of others off them.

    Attributes:
        on: one (R,) for each of ``RegionLoss.on_maps``, summed over the region's target voxels.
        off: one (R,) for each of ``RegionLoss.off_maps``, summed over the region's other voxels.
        target_voxels: (R,) number of target voxels, those where the probability is masked to 0 included.
        voxels: (R,) number of voxels that a mean over the region is taken over, those masked to 0 included.
    """

    on: tuple[torch.Tensor, ...]
    off: tuple[torch.Tensor, ...]
    target_voxels: torch.Tensor
    voxels: torch.Tensor

    def balanced(self) -> RegionSums:
        """The same regions with each voxel weighed by one over the size of its side: target and rest count alike.

        Weights add up to ``voxels``, so that a mean stays a mean; a region that has one side only keeps its sums.
        """
        dtype = self.on[0].dtype
        on, voxels = self.target_voxels.to(dtype), self.voxels.to(dtype)
        both = (on > 0) & (on < voxels)
        on_weight = torch.where(both, voxels / (2 * on), 1)
        off_weight = torch.where(both, voxels / (2 * (voxels - on)), 1)
        return RegionSums(
            tuple(values * on_weight for values in self.on),
            tuple(values * off_weight for values in self.off),
            on * on_weight,
            voxels,
        )
