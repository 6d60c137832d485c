"""Regions that reach beyond the instances: a lesion with all background, and nearest-instance cells."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from monai_instance_loss.instances import Instances, presence, segment_sum
from monai_instance_loss.instances.regions import positions
from monai_instance_loss.instances.voronoi import nearest_instance
from monai_instance_loss.losses.inputs import Prepared
from monai_instance_loss.losses.probability import Voxels
from monai_instance_loss.losses.region import RegionLoss, RegionSums
from monai_instance_loss.losses.terms.instance import InstanceScores

__all__ = ["Volume", "blob_scores", "cell_scores"]


class Volume:
    """A batch with every voxel activated: what regions that cover the volume are summed over.

    Attributes:
        voxels: probabilities of every voxel, (B * C, n).
        target: bool (B * C, n).
        kept: bool (B * C, n), False on ignored voxels; None if there are none.
    """

    def __init__(self, prepared: Prepared) -> None:
        mask = prepared.foreground
        self.shape = mask.shape
        blocks = torch.arange(self.shape[0] * self.shape[1], device=mask.device)
        self.voxels: Voxels = prepared.probability.blocks(blocks)
        self.target = mask.flatten(0, 1).flatten(1)
        self.kept: torch.Tensor | None = None
        if prepared.ignored is not None:
            self.kept = ~prepared.ignored.expand(self.shape).flatten(0, 1).flatten(1)

    @property
    def blocks(self) -> int:
        """Number of (sample, channel) blocks."""
        return int(self.shape[0] * self.shape[1])

    def maps(self, criterion: RegionLoss) -> list[torch.Tensor]:
        """The criterion's maps (B * C, n), 0 on ignored voxels."""
        maps = (values.reshape(self.blocks, -1) for values in criterion.maps(self.voxels))
        return list(maps) if self.kept is None else [torch.where(self.kept, values, 0) for values in maps]

    def block_sums(self, criterion: RegionLoss) -> RegionSums:
        """Sums over whole blocks (B * C,)."""
        on, off = [], []
        for values in self.maps(criterion):
            on.append(torch.where(self.target, values, 0).sum(1))
            off.append(torch.where(self.target, 0, values).sum(1))
        return RegionSums(tuple(on), tuple(off), self.target.sum(1), self.voxels_per_block())

    def voxels_per_block(self) -> torch.Tensor:
        """int64 (B * C,): voxels that are not ignored."""
        if self.kept is None:
            return torch.full((self.blocks,), self.target.shape[1], device=self.target.device)
        return self.kept.sum(1)


def blob_scores(volume: Volume, instances: Instances, criterion: RegionLoss) -> InstanceScores:
    """Score each instance on everything but the other instances.

    Source: Kofler et al., blob loss, IPMI 2023, arXiv 2205.08209. All regions of a block share its background, so that
    one sum over the background and one over each instance is all it takes.

    Returns:
        Scores (K + blocks without target,). Differentiable in the probabilities.
    """
    whole = volume.block_sums(criterion)
    where = positions(volume.target)
    owner = instances.labels.reshape(-1)[where].long() - 1
    on = tuple(segment_sum(values.reshape(-1)[where], owner, instances.count) for values in volume.maps(criterion))
    size = torch.bincount(owner, minlength=instances.count)
    block = instances.block
    others = whole.target_voxels[block] - size
    sums = RegionSums(on, tuple(values[block] for values in whole.off), size, whole.voxels[block] - others)
    return _with_whole_blocks(criterion.score(sums), block, volume, criterion)


def cell_scores(
    volume: Volume, instances: Instances, criterion: RegionLoss, spacing_mm: Sequence[float] | None
) -> InstanceScores:
    """Score the nearest-instance cell of each instance; a cell without target by its presence.

    Source: Bouteille et al., CC-DiceCE, ISBI 2026, arXiv 2511.17146, for cells of true instances; *BiCC*, arXiv
    2609.30223, for those of predicted ones.

    Returns:
        Scores (N + blocks without instances,). Differentiable in the probabilities.
    """
    cells = nearest_instance(instances, spacing_mm).flatten(0, 1).flatten(1)
    kept = cells > 0 if volume.kept is None else (cells > 0) & volume.kept
    # id 0 collects what lies in no cell
    ids = torch.where(kept, cells, 0).reshape(-1).long()
    count = instances.count + 1
    where = positions(volume.target & kept)
    on, off = [], []
    for values in volume.maps(criterion):
        on.append(segment_sum(values.reshape(-1)[where], ids[where], count)[1:])
        off.append(segment_sum(values.masked_fill(volume.target, 0).reshape(-1), ids, count)[1:])
    target_voxels = torch.bincount(ids[where], minlength=count)[1:]
    sums = RegionSums(tuple(on), tuple(off), target_voxels, torch.bincount(ids, minlength=count)[1:])
    values = criterion.score(sums)
    empty = target_voxels == 0
    if bool(empty.any()):
        shown = presence(volume.voxels.p.reshape(-1), ids, count)[1:]
        values = torch.where(empty, criterion.score_false(sums, shown), values)
    return _with_whole_blocks(values, instances.block, volume, criterion)


def _with_whole_blocks(
    values: torch.Tensor, block: torch.Tensor, volume: Volume, criterion: RegionLoss
) -> InstanceScores:
    """Add the score of the whole block for each block without an instance, which costs only where there is one."""
    bare = (torch.bincount(block, minlength=volume.blocks) == 0).nonzero().squeeze(1)
    if bare.numel():
        values = torch.cat([values, criterion.score(volume.block_sums(criterion))[bare]])
    return InstanceScores(values, torch.cat([block, bare]))
