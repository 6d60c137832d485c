"""A batch with every voxel activated, for what needs them all: pixel losses, and regions that cover the volume."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import torch

from monai_instance_loss.instances import Instances
from monai_instance_loss.instances.labelling import label_mask, resolve_connectivity
from monai_instance_loss.instances.regions import range_sum
from monai_instance_loss.instances.voxels import count_voxels, positions
from monai_instance_loss.losses.engine.options import Prepared
from monai_instance_loss.losses.engine.reading import read
from monai_instance_loss.losses.engine.sums import RegionSums
from monai_instance_loss.losses.engine.voxels import Voxels

__all__ = ["Volume", "map_names"]

# the sums that a volume of logits is read for
_READ = {"p", "ce_off"}

Maps = Callable[[Voxels], tuple[torch.Tensor, ...]]


class Volume:
    """Every sample's channel, R = B * C of them, flat over samples and channels; computed where a loss asks for it."""

    def __init__(self, prepared: Prepared, threshold: float | None = None) -> None:
        """Take a batch, and the threshold of its predicted instances where these are looked at one by one."""
        self.prepared = prepared
        self.threshold = threshold
        self._picked: torch.Tensor | None = None
        self._off_sums: dict[str, torch.Tensor] = {}
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
        if self._is_on_cpu:
            return torch.tensor(self._target_lengths, dtype=torch.int64)
        return self.target.flatten(1).sum(1)

    @cached_property
    def predicted(self) -> torch.Tensor:
        """Bool (B, C, *spatial): where there are predicted instances."""
        if self.threshold is None:
            return torch.zeros_like(self.prepared.target)
        return self.prepared.predicted(self.threshold)

    @cached_property
    def position(self) -> torch.Tensor:
        """int64 (V,): flat positions of the voxels that are looked at one by one: of the target and of predictions."""
        if self.threshold is None:
            return self.target_position
        return positions(self.predicted | self.prepared.target)

    @property
    def target_position(self) -> torch.Tensor:
        """int64 (T,): flat positions of the target's voxels."""
        return self.prepared.target_position

    @cached_property
    def is_target(self) -> torch.Tensor:
        """Bool (V,): which of the voxels at ``position`` are the target's."""
        return self.prepared.target.reshape(-1).index_select(0, self.position)

    @cached_property
    def is_predicted(self) -> torch.Tensor:
        """Bool (V,): which of the voxels at ``position`` are predicted instances'."""
        # what is no target is there because it is predicted
        predicted = torch.ones(self.position.shape, dtype=torch.bool, device=self.position.device)
        of_target = self.predicted.reshape(-1).index_select(0, self.target_position)
        return predicted.index_copy_(0, self._target_index, of_target)

    def label_predicted(self, connectivity: int | None) -> Instances:
        """The predicted instances."""
        connectivity = resolve_connectivity(connectivity, self.predicted.ndim - 2)
        return label_mask(self.predicted, connectivity, self.position, self.is_predicted)

    @cached_property
    def foreground(self) -> Voxels:
        """Probabilities (V,) of the voxels at ``position``."""
        if not self._is_read:
            return self.prepared.probability.at(self.position)
        return Voxels(logit=self._read(()) if self._picked is None else self._picked)

    @cached_property
    def on_target(self) -> Voxels:
        """Probabilities (T,) of the target's voxels, in the order of ``target_position``."""
        if self.threshold is None:
            return self.foreground
        return self.foreground.select(self._target_index)

    @cached_property
    def off_target(self) -> Voxels:
        """Probabilities (R, *spatial) off the target, 0 on it and on ignored voxels."""
        return self.voxels.without(self.target_position)

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
        # what is summed over a volume is read before single voxels are, in one go
        off = self.off_sums(off_maps)
        if self._is_on_cpu:
            on = tuple(range_sum(values, self._target_lengths) for values in on_maps(self.on_target))
        else:
            on = tuple(torch.where(self.target, values, 0).flatten(1).sum(1) for values in on_maps(self.voxels))
        return RegionSums(on, off, self.target_voxels, self.voxels_per_block)

    def off_sums(self, off_maps: Maps) -> tuple[torch.Tensor, ...]:
        """Sums (R,) off the target of maps that are 0 where the probability is."""
        if not self._is_on_cpu:
            # to find positions is to wait for the device, which passes over a whole map in no time
            return tuple(self._sum(values, off_target=True) for values in off_maps(self.voxels))
        names = map_names(off_maps) if self._is_read else None
        if names is None or not set(names) <= _READ:
            return tuple(self._sum(values) for values in off_maps(self.off_target))
        wanted = tuple(name for name in dict.fromkeys(names) if name not in self._off_sums)
        if wanted:
            self._read(wanted)
        return tuple(self._off_sums[name] for name in names)

    @cached_property
    def _target_index(self) -> torch.Tensor:
        """int64 (T,): index of the target's voxels among those at ``position``."""
        return positions(self.is_target)

    @property
    def _is_read(self) -> bool:
        """Whether each channel's logits are at hand, to be read in one pass."""
        return self.prepared.probability.kind == "sigmoid"

    @property
    def _is_on_cpu(self) -> bool:
        return self.target.device.type == "cpu"

    def _read(self, names: tuple[str, ...]) -> torch.Tensor:
        picked, sums = read(self.voxels.known_logit, self.position, self.target_position, names)
        self._off_sums.update(sums)
        if self._picked is None:
            self._picked = picked
        return self._picked

    @cached_property
    def _target_lengths(self) -> list[int]:
        """How many of the target's voxels, in the order of ``target_position``, are in each of the R blocks."""
        edges = torch.arange(self.blocks + 1) * self.target[0].numel()
        return torch.diff(torch.searchsorted(self.target_position, edges)).tolist()

    def _sum(self, values: torch.Tensor, off_target: bool = False) -> torch.Tensor:
        # a pixel loss and a criterion share maps, the probability first among them: the same tensor is summed once
        for known, total in self._summed:
            if known is values:
                return total
        total = (torch.where(self.target, 0, values) if off_target else values).flatten(1).sum(1)
        self._summed.append((values, total))
        return total


def map_names(maps: Maps) -> list[str] | None:
    """Which of ``p``, ``ce_on`` and ``ce_off`` the maps are, or None if one is another."""
    nothing = Voxels(logit=torch.zeros(0))
    known = {id(nothing.p): "p", id(nothing.ce_on): "ce_on", id(nothing.ce_off): "ce_off"}
    names = [known.get(id(values), "") for values in maps(nothing)]
    return names if all(names) else None
