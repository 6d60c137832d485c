"""True and predicted instances of a batch laid over each other, with the sums that instance terms are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch

from monai_instance_loss.instances import Instances, coordinate_sums, merge_boxes, segment_sum
from monai_instance_loss.instances.regions import count_ids, fragments_at, weighted_mean
from monai_instance_loss.instances.voxels import positions, voxel_coordinates
from monai_instance_loss.losses.engine.batch import Volume
from monai_instance_loss.losses.engine.sums import RegionSums
from monai_instance_loss.losses.engine.voxels import Voxels

__all__ = ["InstanceScores", "Overlap", "Side"]

Maps = Callable[[Voxels], tuple[torch.Tensor, ...]]


@dataclass(frozen=True, eq=False)
class Side:
    """The instances of one side, true or predicted.

    Attributes:
        block: int64 (count,); sample * C + channel of each instance.
        fragment: int64 (A,); id 0..count of the instance that holds each fragment.
        voxels: int64 (count,); size of each instance.
        scored: int64 (n,); index 0..count-1 of the instances that are large enough to be scored.
    """

    block: torch.Tensor
    fragment: torch.Tensor
    voxels: torch.Tensor
    scored: torch.Tensor

    @property
    def count(self) -> int:
        """Number of instances."""
        return self.block.numel()

    def gather(self, values: torch.Tensor) -> torch.Tensor:
        """Sums over instances (count,) from sums over fragments (A,); integers or floats."""
        return _gathered(values, self.fragment, self.count)

    def count_by_block(self, blocks: int) -> torch.Tensor:
        """int64 (blocks,): scored instances of each block."""
        return torch.bincount(self.block[self.scored], minlength=blocks)

    def sum_by_block(self, values: torch.Tensor, blocks: int) -> torch.Tensor:
        """Sums (blocks,) of values (count,) over the scored instances of each block."""
        return segment_sum(values[self.scored], self.block[self.scored], blocks)


@dataclass(frozen=True, eq=False)
class InstanceScores:
    """A criterion's value on each instance of one side, then on each block that has none there.

    Attributes:
        values: (R,); the scored instances first, then one value a block without any: the criterion on the whole block.
        block: int64 (R,); sample * C + channel of each value.
        total: (B * C,); sums of the values of each block.
        count: int64 (B * C,); how many there are, at least 1.
    """

    values: torch.Tensor
    block: torch.Tensor
    total: torch.Tensor
    count: torch.Tensor


class Overlap:
    """Everything that instance terms know of a batch: both sides, who touches whom, and sums of maps of p.

    Maps of the probability are summed once, over fragments; all else is arithmetic on short arrays.
    """

    # which of the touching pairs there are at all in a table of fixed length, or None where all are
    pair_exists: torch.Tensor | None = None

    def __init__(
        self,
        true: Instances,
        pred: Instances,
        volume: Volume,
        min_instance_size: int = 0,
    ) -> None:
        """Lay ``pred`` over ``true``, the target and the predicted instances of ``volume``.

        Instances of at most ``min_instance_size`` voxels are not scored; they still touch and are touched.
        """
        self.shape = true.shape
        self.volume = volume
        position = volume.position
        parts = fragments_at(position, true.at(position, volume.is_target), pred.at(position, volume.is_predicted))
        self.position, self.fragment_ids, self.fragment_voxels = parts.position, parts.ids, parts.voxels
        self.instances = true, pred
        self.true = _side(true, parts.true, parts.voxels, min_instance_size)
        self.pred = _side(pred, parts.pred, parts.voxels, min_instance_size)
        self.voxels = volume.foreground
        self._sums: dict[object, tuple[torch.Tensor, ...]] = {}
        self._summed: list[tuple[torch.Tensor, torch.Tensor]] = []

    @property
    def blocks(self) -> int:
        """Number of (sample, channel) blocks."""
        return int(self.shape[0] * self.shape[1])

    @cached_property
    def finite(self) -> torch.Tensor:
        """1, or NaN with a NaN gradient: components know no NaN, but a GradScaler has to see it."""
        # a NaN anywhere is in every sum
        return 1 + (self._sum(self.voxels.p) * 0).sum()

    @property
    def block_voxels(self) -> torch.Tensor:
        """int64 (B * C,): voxels of each block that are not ignored."""
        return self.volume.voxels_per_block

    @cached_property
    def pairs(self) -> torch.Tensor:
        """Index of the fragments that lie in a true and in a predicted instance: one a touching pair."""
        return ((self.true.fragment > 0) & (self.pred.fragment > 0)).nonzero().squeeze(1)

    @cached_property
    def pair_true(self) -> torch.Tensor:
        """Index 0..K-1 of the true instance of each touching pair."""
        return self.true.fragment[self.pairs] - 1

    @cached_property
    def pair_pred(self) -> torch.Tensor:
        """Index 0..M-1 of the predicted instance of each touching pair."""
        return self.pred.fragment[self.pairs] - 1

    @cached_property
    def missed(self) -> torch.Tensor:
        """Bool (K,): true instances that no prediction touches."""
        return count_ids(self.pair_true, self.true.count, self.pair_exists) == 0

    @cached_property
    def false(self) -> torch.Tensor:
        """Bool (M,): predicted instances that touch no true one."""
        return count_ids(self.pair_pred, self.pred.count, self.pair_exists) == 0

    @cached_property
    def coordinates(self) -> torch.Tensor:
        """int64 (V, spatial dims): voxel indices of the foreground."""
        return torch.stack(voxel_coordinates(self.position, self.shape[2:]), 1)

    @cached_property
    def fragment_boxes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Lowest and highest voxel int64 (A, spatial dims) of each fragment."""
        low, high, ids, _ = self._runs
        return merge_boxes(low, high, ids, self.fragment_voxels.numel())

    @cached_property
    def fragment_coordinate_sums(self) -> torch.Tensor:
        """int64 (A, spatial dims): sums of voxel indices over each fragment."""
        low, high, ids, voxels = self._runs
        # a run is a line: along each axis its mean index is that of its ends, and twice the sum is even
        return coordinate_sums((low + high) * voxels[:, None] // 2, ids, self.fragment_voxels.numel())

    @cached_property
    def _runs(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Lines of voxels of one fragment along the last axis, a few to a row of an instance.

        Their first and last voxels int64 (R, spatial dims), fragments (R,) and lengths (R,).
        """
        position, ids = self.position, self.fragment_ids
        begins = torch.ones_like(position, dtype=torch.bool)
        begins[1:] = (position[1:] != position[:-1] + 1) | (ids[1:] != ids[:-1]) | (position[1:] % self.shape[-1] == 0)
        # a run ends where the next one begins, the last one with the last voxel
        start, end = position[begins], position[torch.cat([begins[1:], begins[:1]])]
        low = torch.stack(voxel_coordinates(start, self.shape[2:]), 1)
        high = low.clone()
        high[:, -1] += end - start
        return low, high, ids[begins], end - start + 1

    @cached_property
    def presence_true(self) -> torch.Tensor:
        """Presence (K,) of the probability on each true instance."""
        return self._presence(self.true)

    @cached_property
    def presence_false(self) -> torch.Tensor:
        """Presence (M,) of the probability on each predicted instance that is false, 0 on all others."""
        # as a rule they are a small part of the foreground, which is looked at a second time there alone
        of_false = torch.cat([self.false.new_zeros(1), self.false])[self.pred.fragment]
        where = positions(of_false.index_select(0, self.fragment_ids))
        p = self.voxels.p.index_select(0, where)
        weighted = segment_sum(p * p.detach(), self.fragment_ids.index_select(0, where), self.fragment_voxels.numel())
        return self._weighted_mean(self.pred, weighted)

    @cached_property
    def presence_pred(self) -> torch.Tensor:
        """Presence (M,) of the probability on each predicted instance."""
        return self._presence(self.pred)

    def block_sums(self, on_maps: Maps, off_maps: Maps) -> RegionSums:
        """Sums of maps over whole blocks (B * C,)."""
        owner = torch.cat([self.true.block.new_full((1,), -1), self.true.block])[self.true.fragment]
        on = tuple(_gathered(values, owner + 1, self.blocks) for values in self.sums(on_maps))
        target_voxels = _gathered(self.fragment_voxels, owner + 1, self.blocks)
        # summed without the target rather than by difference, in which a saturated logit would swamp the rest
        return RegionSums(on, self.volume.off_sums(off_maps), target_voxels, self.block_voxels)

    def sums(self, maps: Maps) -> tuple[torch.Tensor, ...]:
        """Sums over fragments (A,) of each map; asked for twice, computed once."""
        if maps not in self._sums:
            self._sums[maps] = tuple(self._sum(values) for values in maps(self.voxels))
        return self._sums[maps]

    def _sum(self, values: torch.Tensor) -> torch.Tensor:
        # criteria share maps, the probability first among them: the same tensor is summed once
        for known, total in self._summed:
            if known is values:
                return total
        total = segment_sum(values, self.fragment_ids, self.fragment_voxels.numel())
        self._summed.append((values, total))
        return total

    def first(self, values: torch.Tensor) -> torch.Tensor:
        """Values (pairs,) where a pair is listed for the first time, and 0 elsewhere; here each is listed once."""
        return values

    def scores(
        self, side: Side, values: torch.Tensor, of_whole_blocks: Callable[[torch.Tensor], torch.Tensor]
    ) -> InstanceScores:
        """Values (count,) of the scored instances, and of whole blocks, by their index, where there is none."""
        count = side.count_by_block(self.blocks)
        bare = (count == 0).nonzero().squeeze(1)
        values, block = values[side.scored], side.block[side.scored]
        if bare.numel():
            values = torch.cat([values, of_whole_blocks(bare).to(values.dtype)])
            block = torch.cat([block, bare])
        return InstanceScores(values, block, segment_sum(values, block, self.blocks), count.clamp(min=1))

    def classes_present(self) -> torch.Tensor:
        """Bool (C,): classes with an instance on either side; all of them where there is none at all."""
        channels = self.shape[1]
        present = torch.zeros(channels, dtype=torch.bool, device=self.true.block.device)
        present[self.true.block % channels] = True
        present[self.pred.block % channels] = True
        return torch.where(present.any(), present, ~present)

    def _presence(self, side: Side) -> torch.Tensor:
        (weighted,) = self.sums(_weighted_by_itself)
        return self._weighted_mean(side, weighted)

    def _weighted_mean(self, side: Side, weighted: torch.Tensor) -> torch.Tensor:
        return weighted_mean(side.gather(weighted), side.gather(self._sum(self.voxels.p).detach()))


def _weighted_by_itself(voxels: Voxels) -> tuple[torch.Tensor, ...]:
    return (voxels.p * voxels.p.detach(),)


def _side(instances: Instances, fragment: torch.Tensor, voxels: torch.Tensor, min_size: int) -> Side:
    sizes = _gathered(voxels, fragment, instances.count)
    scored = (sizes > min_size).nonzero().squeeze(1)
    return Side(instances.block, fragment, sizes, scored)


def _gathered(values: torch.Tensor, ids: torch.Tensor, count: int) -> torch.Tensor:
    """Sums (count,) of the values with ids 1..count."""
    if values.is_floating_point():
        return segment_sum(values, ids, count + 1)[1:]
    return values.new_zeros(count + 1).index_add_(0, ids, values)[1:]
