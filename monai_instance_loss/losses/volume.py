"""A batch with every voxel activated, for what needs them all: pixel losses, and regions that cover the volume."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import torch

from monai_instance_loss.instances import segment_sum
from monai_instance_loss.instances.regions import count_voxels, positions
from monai_instance_loss.losses.inputs import Prepared
from monai_instance_loss.losses.probability import Voxels
from monai_instance_loss.losses.sums import RegionSums

__all__ = ["Volume"]

# where less than one voxel in so many is on the target, picking these takes less time than a pass over all
_SPARSE = 32

Maps = Callable[[Voxels], tuple[torch.Tensor, ...]]


class Volume:
    """Every sample's channel, R = B * C of them, flat over samples and channels; computed where a loss asks for it."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self._summed: list[tuple[torch.Tensor, torch.Tensor]] = []

    @property
    def shape(self) -> tuple[int, int]:
        """(B, C)."""
        return self.prepared.target.shape[0], self.prepared.target.shape[1]

    @property
    def blocks(self) -> int:
        """R."""
        return math.prod(self.shape)

    @cached_property
    def voxels(self) -> Voxels:
        """Probabilities (R, *spatial), 0 on ignored voxels: whatever stands there, its gradient is 0 too."""
        voxels = self.prepared.probability.blocks(torch.arange(self.blocks, device=self.target.device))
        return voxels if self.ignored is None else voxels.zeroed(self.ignored)

    @cached_property
    def target(self) -> torch.Tensor:
        """Bool (R, *spatial), False on ignored voxels."""
        return self.prepared.target.flatten(0, 1)

    @cached_property
    def ignored(self) -> torch.Tensor | None:
        """Bool (R, *spatial), or None where no voxel is."""
        if self.prepared.ignored is None:
            return None
        return self.prepared.ignored.expand_as(self.prepared.target).flatten(0, 1)

    @property
    def kept(self) -> torch.Tensor:
        """Bool (R, *spatial), False on ignored voxels."""
        return torch.ones_like(self.target) if self.ignored is None else ~self.ignored

    @cached_property
    def target_voxels(self) -> torch.Tensor:
        """int64 (R,): voxels of the target."""
        return count_voxels(self.target)

    @cached_property
    def target_position(self) -> torch.Tensor:
        """int64 (T,): flat positions of the target's voxels."""
        return positions(self.target)

    @cached_property
    def on_target(self) -> Voxels:
        """Probabilities (T,) of the target's voxels, in the order of ``target_position``."""
        return self._split[0] if self._is_sparse else self.prepared.probability.at(self.target_position)

    @cached_property
    def off_target(self) -> Voxels:
        """Probabilities (R, *spatial) off the target, 0 on it and on ignored voxels."""
        return self._split[1] if self._is_sparse else self.voxels.zeroed(self.target)

    @cached_property
    def _split(self) -> tuple[Voxels, Voxels]:
        return self.voxels.split(self.target_position)

    @cached_property
    def _is_sparse(self) -> bool:
        return int(self.target_voxels.sum()) * _SPARSE <= self.target.numel()

    @cached_property
    def voxels_per_block(self) -> torch.Tensor:
        """int64 (R,): voxels that are not ignored."""
        if self.ignored is None:
            return torch.full((self.blocks,), self.target[0].numel(), device=self.target.device)
        return self.target[0].numel() - count_voxels(self.ignored)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Means (R,) of a map over the voxels that are not ignored; 0 where all are."""
        total = values if self.ignored is None else values.masked_fill(self.ignored, 0)
        return total.flatten(1).sum(1) / self.voxels_per_block.clamp(min=1)

    def sums(self, on_maps: Maps, off_maps: Maps) -> RegionSums:
        """Sums over whole blocks (R,)."""
        if self._is_sparse:
            row = torch.div(self.target_position, self.target[0].numel(), rounding_mode="floor")
            on = tuple(segment_sum(values, row, self.blocks) for values in on_maps(self.on_target))
        else:
            on = tuple(torch.where(self.target, values, 0).flatten(1).sum(1) for values in on_maps(self.voxels))
        return RegionSums(on, self.off_sums(off_maps), self.target_voxels, self.voxels_per_block)

    def off_sums(self, off_maps: Maps) -> tuple[torch.Tensor, ...]:
        """Sums (R,) off the target of maps that are 0 where the probability is."""
        return tuple(self._sum(values) for values in off_maps(self.off_target))

    def _sum(self, values: torch.Tensor) -> torch.Tensor:
        # a pixel loss and a criterion share maps, the probability first among them: the same tensor is summed once
        for known, total in self._summed:
            if known is values:
                return total
        total = values.flatten(1).sum(1)
        self._summed.append((values, total))
        return total
