"""True and predicted instances laid over each other: who touches whom, and sums of maps over their common pieces."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch

from monai_instance_loss.instances import Instances, coordinate_sums, merge_boxes, segment_sum
from monai_instance_loss.instances.regions import count_ids, fragments_at, weighted_mean
from monai_instance_loss.instances.voxels import voxel_coordinates
from monai_instance_loss.losses.engine.batch import Batch
from monai_instance_loss.losses.engine.region import RegionSums
from monai_instance_loss.losses.engine.voxels import Map

__all__ = ["InstanceScores", "Overlap", "Side", "VoxelOverlap", "with_voxels"]

_T = TypeVar("_T")


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


class Overlap(ABC):
    """What every instance term may ask of a batch: both sides, who touches whom, and sums of named maps.

    A fragment is a piece of foreground that lies in one instance of each side, or in one of one side alone. Maps are
    summed once, over fragments; all else is arithmetic on short arrays. Terms that look at single voxels need a
    ``VoxelOverlap``.

    Attributes:
        batch: the batch.
        true, pred: the two sides.
        fragment_voxels: int64 (A,); size of each fragment.
        pairs: int64 (pairs,); index of the fragments that lie in a true and in a predicted instance.
        pair_true, pair_pred: int64 (pairs,); the true and the predicted instance of each of them, from 0.
    """

    batch: Batch
    true: Side
    pred: Side
    fragment_voxels: torch.Tensor
    pairs: torch.Tensor
    pair_true: torch.Tensor
    pair_pred: torch.Tensor
    # which of the pairs there are at all in a table of fixed length, or None where all are
    pair_exists: torch.Tensor | None = None

    def __init__(self) -> None:
        self._known: dict[str, object] = {}

    @abstractmethod
    def sums(self, names: Sequence[Map]) -> dict[Map, torch.Tensor]:
        """Sums over fragments (A,) of maps, by name; asked for twice, computed once."""

    @abstractmethod
    def block_sums(self, on: Sequence[Map], off: Sequence[Map], blocks: torch.Tensor) -> RegionSums:
        """Sums of maps over whole blocks, by their index (n,)."""

    @abstractmethod
    def scores(
        self, side: Side, values: torch.Tensor, of_whole_blocks: Callable[[torch.Tensor], torch.Tensor]
    ) -> InstanceScores:
        """Values (count,) of the scored instances, and of whole blocks, by their index, where there is none."""

    @cached_property
    @abstractmethod
    def classes_present(self) -> torch.Tensor:
        """Bool (C,): classes with an instance on either side; all of them where there is none at all."""

    @abstractmethod
    def first(self, values: torch.Tensor) -> torch.Tensor:
        """Values (pairs,) where a pair of instances is listed for the first time, and 0 elsewhere."""

    def once(self, name: str, compute: Callable[[], _T]) -> _T:
        """What ``compute`` gives, computed when it is first asked for under that name."""
        if name not in self._known:
            self._known[name] = compute()
        known: _T = self._known[name]  # type: ignore[assignment]
        return known

    @property
    def shape(self) -> tuple[int, int]:
        """(B, C)."""
        return self.batch.shape[0], self.batch.shape[1]

    @property
    def blocks(self) -> int:
        """Number of (sample, channel) blocks."""
        return self.batch.blocks

    @cached_property
    def finite(self) -> torch.Tensor:
        """1, or NaN with a NaN gradient: components know no NaN, but a GradScaler has to see it."""
        # a NaN anywhere is in every sum
        return 1 + (self.sums(("p",))["p"] * 0).sum()

    @cached_property
    def missed(self) -> torch.Tensor:
        """Bool (K,): true instances that no prediction touches."""
        return count_ids(self.pair_true, self.true.count, self.pair_exists) == 0

    @cached_property
    def false(self) -> torch.Tensor:
        """Bool (M,): predicted instances that touch no true one."""
        return count_ids(self.pair_pred, self.pred.count, self.pair_exists) == 0

    @cached_property
    def presence_true(self) -> torch.Tensor:
        """Presence (K,) of the probability on each true instance."""
        return self._presence(self.true)

    @cached_property
    def presence_pred(self) -> torch.Tensor:
        """Presence (M,) of the probability on each predicted instance."""
        return self._presence(self.pred)

    def _presence(self, side: Side) -> torch.Tensor:
        sums = self.sums(("p", "p_fixed"))
        return weighted_mean(side.gather(sums["p_fixed"]), side.gather(sums["p"]))


class VoxelOverlap(Overlap):
    """An ``Overlap`` that keeps its voxels, for terms that look at them one by one, as centers and boxes do.

    Attributes:
        instances: both labellings, true and predicted.
        position: int64 (V,); flat positions of the foreground of either side, ascending.
        fragment_ids: int32 (V,); which fragment each of these voxels belongs to.
    """

    def __init__(self, batch: Batch, connectivity: int | None, min_instance_size: int = 0) -> None:
        """Label both sides of ``batch`` and lay them over each other.

        Instances of at most ``min_instance_size`` voxels are not scored; they still touch and are touched.
        """
        super().__init__()
        self.batch = batch
        true, pred = self.instances = batch.label_target(connectivity), batch.label_predicted(connectivity)
        position = self.position = batch.position
        parts = fragments_at(position, true.at(position, batch.is_target), pred.at(position, batch.is_predicted))
        self.fragment_ids, self.fragment_voxels = parts.ids, parts.voxels
        self.true = _side(true, parts.true, parts.voxels, min_instance_size)
        self.pred = _side(pred, parts.pred, parts.voxels, min_instance_size)
        self.pairs = ((parts.true > 0) & (parts.pred > 0)).nonzero().squeeze(1)
        self.pair_true, self.pair_pred = parts.true[self.pairs] - 1, parts.pred[self.pairs] - 1
        self._sums: dict[Map, torch.Tensor] = {}

    def sums(self, names: Sequence[Map]) -> dict[Map, torch.Tensor]:
        """Sums over fragments (A,) of maps, by name."""
        for name in names:
            if name not in self._sums:
                values = self.batch.foreground.map(name)
                self._sums[name] = segment_sum(values, self.fragment_ids, self.fragment_voxels.numel())
        return {name: self._sums[name] for name in names}

    def block_sums(self, on: Sequence[Map], off: Sequence[Map], blocks: torch.Tensor) -> RegionSums:
        """Sums of maps over whole blocks, by their index (n,)."""
        owner = torch.cat([self.true.block.new_full((1,), -1), self.true.block])[self.true.fragment] + 1
        return RegionSums(
            {name: _gathered(values, owner, self.blocks)[blocks] for name, values in self.sums(on).items()},
            self.batch.off_sums(off, blocks),
            _gathered(self.fragment_voxels, owner, self.blocks)[blocks],
            self.batch.voxels_per_block[blocks],
        )

    def scores(
        self, side: Side, values: torch.Tensor, of_whole_blocks: Callable[[torch.Tensor], torch.Tensor]
    ) -> InstanceScores:
        """Values (count,) of the scored instances, and of whole blocks, by their index, where there is none."""
        count = side.count_by_block(self.blocks)
        # classes that are nowhere in the batch are not averaged over: there is nothing to score in their blocks
        bare = ((count == 0) & self.classes_present.repeat(self.shape[0])).nonzero().squeeze(1)
        values, block = values[side.scored], side.block[side.scored]
        if bare.numel():
            values = torch.cat([values, of_whole_blocks(bare)])
            block = torch.cat([block, bare])
        return InstanceScores(values, block, segment_sum(values, block, self.blocks), count.clamp(min=1))

    @cached_property
    def classes_present(self) -> torch.Tensor:
        """Bool (C,): classes with an instance on either side; all of them where there is none at all."""
        channels = self.shape[1]
        present = torch.zeros(channels, dtype=torch.bool, device=self.true.block.device)
        present[self.true.block % channels] = True
        present[self.pred.block % channels] = True
        return torch.where(present.any(), present, ~present)

    def first(self, values: torch.Tensor) -> torch.Tensor:
        """The values as they are: each pair is listed once."""
        return values

    @cached_property
    def coordinates(self) -> torch.Tensor:
        """int64 (V, spatial dims): voxel indices of the foreground."""
        return torch.stack(voxel_coordinates(self.position, self.batch.shape[2:]), 1)

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
        position, ids, width = self.position, self.fragment_ids, self.batch.shape[-1]
        begins = torch.ones_like(position, dtype=torch.bool)
        begins[1:] = (position[1:] != position[:-1] + 1) | (ids[1:] != ids[:-1]) | (position[1:] % width == 0)
        # a run ends where the next one begins, the last one with the last voxel
        start, end = position[begins], position[torch.cat([begins[1:], begins[:1]])]
        low = torch.stack(voxel_coordinates(start, self.batch.shape[2:]), 1)
        high = low.clone()
        high[:, -1] += end - start
        return low, high, ids[begins], end - start + 1


def with_voxels(overlap: Overlap) -> VoxelOverlap:
    """The overlap, if it keeps its voxels; a TypeError if it has sums only."""
    if not isinstance(overlap, VoxelOverlap):
        raise TypeError(
            "Expected `overlap` to be a VoxelOverlap, for a term that looks at single voxels, but got "
            f"{type(overlap).__name__}, which has sums only."
        )
    return overlap


def _side(instances: Instances, fragment: torch.Tensor, voxels: torch.Tensor, min_size: int) -> Side:
    sizes = _gathered(voxels, fragment, instances.count)
    return Side(instances.block, fragment, sizes, (sizes > min_size).nonzero().squeeze(1))


def _gathered(values: torch.Tensor, ids: torch.Tensor, count: int) -> torch.Tensor:
    """Sums (count,) of the values with ids 1..count."""
    if values.is_floating_point():
        return segment_sum(values, ids, count + 1)[1:]
    return values.new_zeros(count + 1).index_add_(0, ids, values)[1:]
