"""True and predicted instances laid over each other on a GPU: tables of fixed length, nothing waited for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from monai_instance_loss.instances.backends import label_blocks
from monai_instance_loss.instances.labelling import resolve_connectivity
from monai_instance_loss.instances.regions import segment_sum, sorted_sum, weighted_mean
from monai_instance_loss.losses.engine.batch import Volume, map_names
from monai_instance_loss.losses.engine.cuda.sums import MapName, region_map, region_sums
from monai_instance_loss.losses.engine.overlap import InstanceScores, Maps, Overlap, Side
from monai_instance_loss.losses.engine.region import RegionLoss
from monai_instance_loss.losses.engine.sums import RegionSums
from monai_instance_loss.losses.pixel.adapters import Criterion

__all__ = ["FusedOverlap", "fused_names", "most_components"]


# types of device on which asking how many instances there are takes longer than tables of the largest number
_DEVICES = ("cuda",)


def fused_names(volume: Volume, criteria: Sequence[Criterion]) -> tuple[MapName, ...] | None:
    """The maps that criteria need the sums of, or None where they have to be found another way.

    That is on other devices, for softmax and probabilities, for instance maps, whose ids may be any, and for criteria
    that need other maps than ``region_sums`` has.
    """
    prepared = volume.prepared
    if prepared.target.device.type not in _DEVICES or prepared.probability.kind != "sigmoid":
        return None
    if prepared.ids is not None:
        return None
    names: list[str] = []
    for criterion in criteria:
        if not isinstance(criterion, RegionLoss):
            return None
        for maps in (criterion.on_maps, criterion.off_maps):
            found = map_names(maps)
            if found is None:
                return None
            names += found
    return tuple(dict.fromkeys(names))  # type: ignore[arg-type]


class FusedOverlap(Overlap):
    """An ``Overlap`` whose sizes follow from the shape of the batch, and not from what is in it.

    Tables have a row for each component that a batch of this shape could hold, so that the host never asks the device
    how many there are, and a loss can sit in a CUDA graph. Fragments are the true instances outside of the prediction,
    the predicted ones outside of the target, and the components of the overlap of the two: of several of these one pair
    of instances may be made up, and ``first`` tells them apart. The logits and the map of fragments are read once.

    What looks at single voxels, as centers and boxes do, is not here.
    """

    def __init__(
        self, volume: Volume, connectivity: int | None, names: tuple[MapName, ...], min_instance_size: int = 0
    ) -> None:
        """Label both sides, and sum the named maps over fragments; names as in ``region_sums``."""
        target, predicted = volume.target, volume.predicted.flatten(0, 1)
        self.shape, self.volume = volume.prepared.target.shape, volume
        connectivity = resolve_connectivity(connectivity, len(self.shape) - 2)
        capacity = most_components(target.shape, connectivity)
        found = [label_blocks(mask, connectivity) for mask in (target, predicted, target & predicted)]
        true, pred, both = (labels.dense() for labels, _ in found)
        region = region_map(true, pred, both, (capacity, capacity))
        names = tuple(dict.fromkeys(("voxels", "p", "p_fixed", *names)))
        table = region_sums(volume.voxels.known_logit, region, self.blocks + 3 * capacity, names)
        # the backgrounds come first
        self._table = {name: sums[self.blocks :] for name, sums in table.items()}
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
    ) -> _FusedSide:
        row, last = torch.arange(ids[0].numel(), device=counts.device), counts.cumsum(0)
        block = torch.searchsorted(last, row, right=True).clamp(max=self.blocks - 1)
        side = _FusedSide(block, torch.cat(ids), row, row, own, last, row > 0)
        voxels = side.gather(self.fragment_voxels)
        return replace(side, voxels=voxels, counted=voxels > min_size)

    @property
    def finite(self) -> torch.Tensor:
        """1, or NaN with a NaN gradient."""
        return 1 + (self._table["p"] * 0).sum()

    @property
    def presence_false(self) -> torch.Tensor:
        """Presence (M,) of the probability on each predicted instance that is false, 0 on all others."""
        return torch.where(self.false, self.presence_pred, 0)

    def sums(self, maps: Maps) -> tuple[torch.Tensor, ...]:
        """Sums over fragments (A,) of each map, which is among those that were named."""
        return tuple(self._table[name] for name in map_names(maps) or ())  # type: ignore[index]

    def first(self, values: torch.Tensor) -> torch.Tensor:
        """Values (pairs,) where a pair is listed for the first time, and 0 elsewhere."""
        return torch.where(self._is_first, values, 0)

    def block_sums(self, on_maps: Maps, off_maps: Maps) -> RegionSums:
        """Sums of maps over whole blocks (B * C,)."""
        return self.volume.sums(on_maps, off_maps)

    def scores(
        self, side: Side, values: torch.Tensor, of_whole_blocks: Callable[[torch.Tensor], torch.Tensor]
    ) -> InstanceScores:
        """Values (count,) of the scored instances, and of whole blocks where there is none."""
        count, every = side.count_by_block(self.blocks), torch.arange(self.blocks, device=values.device)
        whole = of_whole_blocks(every).to(values.dtype)
        total = side.sum_by_block(values, self.blocks) + torch.where(count == 0, whole, 0)
        return InstanceScores(torch.cat([values, whole]), torch.cat([side.block, every]), total, count.clamp(min=1))

    def classes_present(self) -> torch.Tensor:
        """Bool (C,): classes with an instance on either side; all of them where there is none at all."""
        present = (self._counts[0] + self._counts[1]).view(self.shape[:2]).sum(0) > 0
        return torch.where(present.any(), present, ~present)

    def _presence(self, side: Side) -> torch.Tensor:
        return weighted_mean(side.gather(self._table["p_fixed"]), side.gather(self._table["p"].detach()))


@dataclass(frozen=True, eq=False)
class _FusedSide(Side):
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
