"""Instance center term: every instance as a box of one size around its centre of mass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from monai_instance_loss.instances import coordinate_sums, segment_sum
from monai_instance_loss.instances.voxels import positions
from monai_instance_loss.losses.engine.overlap import Overlap, Side, VoxelOverlap, with_voxels
from monai_instance_loss.losses.engine.region import RegionLoss, RegionSums
from monai_instance_loss.losses.engine.voxels import ProbabilityVoxels
from monai_instance_loss.losses.pixel.adapters import Criterion
from monai_instance_loss.losses.terms import masked
from monai_instance_loss.losses.terms.base import Term, over_samples

__all__ = ["CENTER", "center_scores"]

# voxels of boxes held at a time, which bounds the memory whatever the number of instances
_CHUNK = 2**21


def center_scores(overlap: VoxelOverlap, criterion: Criterion, radius: int) -> torch.Tensor:
    """Score a map of predicted center boxes against one of true center boxes, block by block.

    Source: Rachmadi et al., Comput. Biol. Med. 174 (2024) 108414 and MIDL 2023 (arXiv 2304.06229). A predicted instance
    paints its box with its presence, and so does a missed true one, from where a missed lesion has its gradient; where
    boxes overlap, the most present one shows.

    Args:
        overlap: the batch.
        criterion: what scores a block's predicted map (as p) against its true one.
        radius: half-width of a box in voxels along the longest axis, shorter in proportion along the others.

    Returns:
        (B * C,). Differentiable in the probabilities.
    """
    true, pred = overlap.true.scored, overlap.pred.scored
    true_low, true_high = _boxes(overlap, overlap.true, radius)
    pred_low, pred_high = _boxes(overlap, overlap.pred, radius)
    missed = overlap.missed[true]
    target = _Boxes(overlap, true_low, true_high, overlap.true.block[true])
    shown = _Boxes(
        overlap,
        torch.cat([pred_low, true_low[missed]]),
        torch.cat([pred_high, true_high[missed]]),
        torch.cat([overlap.pred.block[pred], overlap.true.block[true][missed]]),
    )
    presence = torch.cat([overlap.presence_pred[pred], overlap.presence_true[true][missed]])

    on_target = target.cover()
    # a picture of ranks, from 1, in order of presence: the most present box shows, and an integer maximum paints the
    # same picture in any order
    rank = torch.argsort(torch.argsort(presence.detach(), stable=True)) + 1
    picture = shown.paint(rank)
    if overlap.batch.ignored is not None:
        ignored = overlap.batch.ignored.reshape(-1)
        on_target, picture = on_target & ~ignored, picture.masked_fill(ignored, 0)
    if not isinstance(criterion, RegionLoss):
        values = torch.cat([presence.new_zeros(1), presence[torch.argsort(rank)]])[picture.long()]
        rows = (overlap.blocks, *overlap.batch.shape[2:])
        return masked.block_scores(criterion, values.view(rows), on_target.view(rows))

    on, total = shown.count_showing(picture, rank, on_target)
    target_block = torch.div(positions(on_target), overlap.batch.shape[2:].numel(), rounding_mode="floor")
    boxes = ProbabilityVoxels(presence)
    return criterion.score(
        RegionSums(
            {name: segment_sum(boxes.map(name) * on, shown.block, overlap.blocks) for name in criterion.on},
            {name: segment_sum(boxes.map(name) * (total - on), shown.block, overlap.blocks) for name in criterion.off},
            torch.bincount(target_block, minlength=overlap.blocks),
            overlap.batch.voxels_per_block,
        )
    )


def _center(overlap: Overlap, loss: Any) -> torch.Tensor:
    values = center_scores(with_voxels(overlap), loss.center_loss, loss.center_radius)
    return over_samples(overlap, loss, values)


CENTER = Term(_center, "center_loss", looks_at_voxels=True)


def _boxes(overlap: VoxelOverlap, side: Side, radius: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Corners (n, spatial dims) of the scored instances' center boxes, the upper one exclusive, clipped."""
    sums = coordinate_sums(overlap.fragment_coordinate_sums, side.fragment, side.count + 1)[1:][side.scored]
    voxels = side.voxels[side.scored, None]
    extent = torch.tensor(overlap.batch.shape[2:], device=sums.device)
    # integer ceilings: rounding a centre of mass must not hang on the last bit of a float
    center = -torch.div(-sums, voxels, rounding_mode="floor")
    half = -torch.div(-radius * extent, extent.max(), rounding_mode="floor")
    return (center - half - 1).clamp(min=0), torch.minimum(center + half, extent)


@dataclass(eq=False)
class _Boxes:
    """Boxes (n,) to paint into pictures of the batch, flat over (B, C, *spatial)."""

    overlap: VoxelOverlap
    low: torch.Tensor
    high: torch.Tensor
    block: torch.Tensor

    @property
    def count(self) -> int:
        return self.block.numel()

    def cover(self) -> torch.Tensor:
        """Bool, one a voxel of the batch: whether any box covers it."""
        covered = torch.zeros(self.overlap.batch.shape.numel(), dtype=torch.bool, device=self.low.device)
        for _, position, inside in self._voxels():
            covered[position[inside.expand_as(position)]] = True
        return covered

    def paint(self, rank: torch.Tensor) -> torch.Tensor:
        """int32, one a voxel of the batch: the highest rank of the boxes that cover it, 0 for none."""
        picture = torch.zeros(self.overlap.batch.shape.numel(), dtype=torch.int32, device=rank.device)
        for chunk, position, inside in self._voxels():
            color = (rank[chunk, None] * inside).int().expand_as(position)
            picture.scatter_reduce_(0, position.reshape(-1), color.reshape(-1), "amax")
        return picture

    def count_showing(
        self, picture: torch.Tensor, rank: torch.Tensor, on_target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """int64 (n,) twice: voxels at which each box shows in the picture, on the target's boxes and in all."""
        on, total = [self.block.new_zeros(0)], [self.block.new_zeros(0)]
        for chunk, position, inside in self._voxels():
            shows = (picture[position] == rank[chunk, None]) & inside
            total.append(shows.sum(1))
            on.append((shows & on_target[position]).sum(1))
        return torch.cat(on), torch.cat(total)

    def _voxels(self) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
        if self.count == 0:
            return
        step = max(1, _CHUNK // self._window.shape[0])
        if step >= self.count:
            yield self._whole
            return
        for start in range(0, self.count, step):
            yield self._chunk(slice(start, start + step))

    @cached_property
    def _window(self) -> torch.Tensor:
        """int64 (w, spatial dims): offsets from the low corner that cover the largest box."""
        # a box at the edge may be empty
        size = (self.high - self.low).amax(0).clamp(min=1).tolist()
        axes = torch.meshgrid(*(torch.arange(n, device=self.low.device) for n in size), indexing="ij")
        return torch.stack([axis.reshape(-1) for axis in axes], 1)

    @cached_property
    def _whole(self) -> tuple[slice, torch.Tensor, torch.Tensor]:
        return self._chunk(slice(None))

    def _chunk(self, chunk: slice) -> tuple[slice, torch.Tensor, torch.Tensor]:
        """Flat positions (n, w) of boxes in the batch, and which lie in the box (the others stand at its corner)."""
        corner, offset = self.block[chunk], torch.zeros_like(self._window[:, 0])
        inside = torch.ones((1, 1), dtype=torch.bool, device=self.low.device)
        for axis, extent in enumerate(self.overlap.batch.shape[2:]):
            size = (self.high - self.low)[chunk, axis, None]
            corner = corner * extent + self.low[chunk, axis]
            offset = offset * extent + self._window[:, axis]
            if bool((size != self._window[-1, axis] + 1).any()):
                inside = inside & (self._window[:, axis] < size)
        return chunk, corner[:, None] + offset * inside, inside
