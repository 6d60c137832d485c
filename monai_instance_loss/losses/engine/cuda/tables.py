"""True and predicted instances laid over each other on a GPU: tables of fixed length, nothing waited for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import get_args

import torch

from monai_instance_loss.instances.backends import label_blocks
from monai_instance_loss.instances.labelling import resolve_connectivity
from monai_instance_loss.instances.regions import segment_sum, sorted_sum
from monai_instance_loss.losses.engine.batch import Batch
from monai_instance_loss.losses.engine.cuda.sums import MapName, region_map, region_sums
from monai_instance_loss.losses.engine.overlap import InstanceScores, Overlap, Side
from monai_instance_loss.losses.engine.region import RegionLoss, RegionSums
from monai_instance_loss.losses.engine.voxels import LogitVoxels, Map

__all__ = ["TableOverlap", "most_components", "table_maps"]


# types of device on which asking how many instances there are takes longer than tables of the largest number
_DEVICES = ("cuda",)


def table_maps(batch: Batch, criteria: Sequence[object]) -> tuple[MapName, ...] | None:
    """The maps that criteria need the sums of, or None where a ``TableOverlap`` cannot have them.

    That is on other devices, for softmax and probabilities, for instance maps, whose ids may be any, and for criteria
    that need other maps than ``region_sums`` has.
    """
    if batch.target.device.type not in _DEVICES or not isinstance(batch.voxels, LogitVoxels) or batch.has_ids:
        return None
    names: list[Map] = []
    for criterion in criteria:
        if not isinstance(criterion, RegionLoss):
            return None
        names += [*criterion.on, *criterion.off]
    if not set(names) <= set(get_args(MapName)):
        return None
    return tuple(dict.fromkeys(names))  # type: ignore[arg-type]


class TableOverlap(Overlap):
    """An ``Overlap`` whose sizes follow from the shape of the batch, and not from what is in it.

    Tables have a row for each component that a batch of this shape could hold, so that the host never asks the device
    how many there are, and a loss can sit in a CUDA graph. Fragments are the true instances outside of the prediction,
    the predicted ones outside of the target, and the components of the overlap of the two: of several of these one pair
    of instances may be made up, and ``first`` tells them apart. The logits and the map of fragments are read once.
    """

    def __init__(
        self, batch: Batch, connectivity: int | None, names: tuple[MapName, ...], min_instance_size: int = 0
    ) -> None:
        """Label both sides, and sum the named maps over fragments; names as in ``region_sums``."""
        super().__init__()
        self.batch = batch
        target, predicted, voxels = batch.target, batch.predicted, batch.voxels
        if not isinstance(voxels, LogitVoxels):
            raise TypeError(f"Expected `batch` to have logits of a sigmoid, but got {type(voxels).__name__}.")
        connectivity = resolve_connectivity(connectivity, target.ndim - 1)
        capacity = most_components(target.shape, connectivity)
        found = [label_blocks(mask, connectivity) for mask in (target, predicted, target & predicted)]
        true, pred, both = (labels.dense() for labels, _ in found)
        region = region_map(true, pred, both, (capacity, capacity))
        names = tuple(dict.fromkeys(("voxels", "p", "p_fixed", *names)))
        table = region_sums(voxels.logit, region, self.blocks + 3 * capacity, names)
        # the backgrounds come first
        self._table: dict[Map, torch.Tensor] = {name: sums[self.blocks :] for name, sums in table.items()}
        self.fragment_voxels = self._table["voxels"]

        row = torch.arange(capacity, device=target.device)
        none = torch.zeros_like(row)
        pair_true, pair_pred = (_ids_of(both, labels, capacity) for labels in (true, pred))
        self.pair_exists = pair_true > 0
        self._is_first = _first_of_each(pair_true * (capacity + 1) + pair_pred) & self.pair_exists
        # rows that stand for no pair add nothing, each to an instance of its own: to a single one they would queue up
        pair_true, pair_pred = (torch.where(self.pair_exists, ids - 1, row) for ids in (pair_true, pair_pred))
        self.pairs, self.pair_true, self.pair_pred = row + 2 * capacity, pair_true, pair_pred
        self._counts = found[0][1], found[1][1]
        self.true = self._side(self._counts[0], (row + 1, none, pair_true + 1), 0, min_instance_size)
        self.pred = self._side(self._counts[1], (none, row + 1, pair_pred + 1), 1, min_instance_size)

    def _side(
        self, counts: torch.Tensor, ids: tuple[torch.Tensor, torch.Tensor, torch.Tensor], own: int, min_size: int
    ) -> _TableSide:
        row, last = torch.arange(ids[0].numel(), device=counts.device), counts.cumsum(0)
        block = torch.searchsorted(last, row, right=True).clamp(max=self.blocks - 1)
        side = _TableSide(block, torch.cat(ids), row, row, own, last, row > 0)
        voxels = side.gather(self.fragment_voxels)
        return replace(side, voxels=voxels, counted=voxels > min_size)

    def sums(self, names: Sequence[Map]) -> dict[Map, torch.Tensor]:
        """Sums over fragments (A,) of maps that were named when the tables were made.

        Raises:
            ValueError: another map.
        """
        if unknown := [name for name in names if name not in self._table]:
            raise ValueError(f"Expected `names` to be among the maps summed, {list(self._table)}, but got {unknown}.")
        return {name: self._table[name] for name in names}

    def block_sums(self, on: Sequence[Map], off: Sequence[Map], blocks: torch.Tensor) -> RegionSums:
        """Sums of maps over whole blocks, by their index (n,)."""
        sums_on, sums_off = (
            {name: values[blocks] for name, values in sums.items()} for sums in self.batch.sums(on, off)
        )
        return RegionSums(sums_on, sums_off, self.batch.target_voxels[blocks], self.batch.voxels_per_block[blocks])

    def scores(
        self, side: Side, values: torch.Tensor, of_whole_blocks: Callable[[torch.Tensor], torch.Tensor]
    ) -> InstanceScores:
        """Values (count,) of the scored instances, and of whole blocks where there is none."""
        count, every = side.count_by_block(self.blocks), torch.arange(self.blocks, device=values.device)
        whole = of_whole_blocks(every).to(values.dtype)
        total = side.sum_by_block(values, self.blocks) + torch.where(count == 0, whole, 0)
        return InstanceScores(torch.cat([values, whole]), torch.cat([side.block, every]), total, count.clamp(min=1))

    @cached_property
    def classes_present(self) -> torch.Tensor:
        """Bool (C,): classes with an instance on either side; all of them where there is none at all."""
        present = (self._counts[0] + self._counts[1]).view(self.shape).sum(0) > 0
        return torch.where(present.any(), present, ~present)

    def first(self, values: torch.Tensor) -> torch.Tensor:
        """Values (pairs,) where a pair is listed for the first time, and 0 elsewhere."""
        return torch.where(self._is_first, values, 0)


@dataclass(frozen=True, eq=False)
class _TableSide(Side):
    """One side, in tables with a row for each instance that there could be.

    Attributes:
        own: which third of the fragments is this side's instances outside of the other side's; the last is pairs.
        last: int64 (blocks,); the row where each block's instances end, exclusive.
        counted: bool (count,); which rows are instances, and large enough to be scored.
    """

    own: int
    last: torch.Tensor
    counted: torch.Tensor

    def gather(self, values: torch.Tensor) -> torch.Tensor:
        """Sums over instances (count,) from sums over fragments (A,); integers or floats."""
        parts, pair = values.view(3, -1), self.fragment.view(3, -1)[2] - 1
        if values.is_floating_point():
            return parts[self.own] + segment_sum(parts[2], pair, self.count)
        return parts[self.own].index_add(0, pair, parts[2])

    def count_by_block(self, blocks: int) -> torch.Tensor:
        """int64 (blocks,): scored instances of each block."""
        running = torch.cat([self.last.new_zeros(1), self.counted.cumsum(0)])
        return torch.diff(running[self.last], prepend=running[:1])

    def sum_by_block(self, values: torch.Tensor, blocks: int) -> torch.Tensor:
        """Sums (blocks,) of values (count,) over the scored instances of each block."""
        return sorted_sum(torch.where(self.counted, values, 0), self.block, self.last)


def most_components(shape: tuple[int, ...], connectivity: int) -> int:
    """The largest number of components that a mask (blocks, *spatial) can have.

    In two voxels along each axis there are 2^d voxels, of which connectivity c leaves 2^(d - c) without a neighbour
    among them.

    Example:
        >>> most_components((2, 3, 4), 2), most_components((2, 3, 4), 1)
        (8, 16)
    """
    spatial = shape[1:]
    return shape[0] * math.prod(-(-extent // 2) for extent in spatial) * 2 ** (len(spatial) - connectivity)


def _ids_of(components: torch.Tensor, labels: torch.Tensor, capacity: int) -> torch.Tensor:
    """int64 (capacity,): the label that holds each component, 0 where there is none."""
    ids = torch.zeros(capacity + 1, dtype=torch.int64, device=labels.device)
    # all voxels of a component write the same label, and those of none write into row 0
    return ids.scatter_(0, components.reshape(-1).long(), labels.reshape(-1).long())[1:]


def _first_of_each(keys: torch.Tensor) -> torch.Tensor:
    """Bool (n,): one of each set of equal keys."""
    ordered, index = torch.sort(keys, stable=True)
    is_first = torch.ones_like(keys, dtype=torch.bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return torch.zeros_like(is_first).scatter_(0, index, is_first)
