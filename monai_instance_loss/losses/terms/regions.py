"""Regions that reach beyond the instances: a lesion with all background, and nearest-instance cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from monai_instance_loss.instances import Instances, presence, segment_sum
from monai_instance_loss.instances.voxels import positions
from monai_instance_loss.losses.engine.batch import Batch
from monai_instance_loss.losses.engine.overlap import InstanceScores
from monai_instance_loss.losses.engine.region import RegionLoss, RegionSums
from monai_instance_loss.losses.pixel.adapters import Criterion
from monai_instance_loss.losses.terms import masked

__all__ = ["blob_scores", "cell_scores"]


def blob_scores(
    batch: Batch, instances: Instances, criterion: Criterion, inverse_size_weighting: bool = False
) -> InstanceScores:
    """Score each true instance on everything but the other true instances.

    Source: Kofler et al., blob loss, IPMI 2023, arXiv 2205.08209. All regions of a block share its background, so that
    one sum over the background and one over each instance is all it takes. A criterion that is no RegionLoss is called
    once an instance.

    Returns:
        Scores (K + blocks without target,). Differentiable in the probabilities.
    """
    if not isinstance(criterion, RegionLoss):
        labels = instances.labels.flatten(0, 1)
        return _generic_scores(
            batch, instances, criterion, lambda block, k: (labels[block] == 0) | (labels[block] == k)
        )
    owner = instances.at(batch.target_position) - 1
    on = {name: segment_sum(batch.on_target.map(name), owner, instances.count) for name in criterion.on}
    background = batch.off_sums(criterion.off)
    size = torch.bincount(owner, minlength=instances.count)
    block = instances.block
    others = torch.zeros_like(batch.voxels_per_block).index_add_(0, block, size)[block] - size
    voxels = batch.voxels_per_block[block] - others
    sums = RegionSums(on, {name: values[block] for name, values in background.items()}, size, voxels)
    values = criterion.score(sums.balanced() if inverse_size_weighting else sums)
    bare = _bare(instances, batch)
    if bare.numel():
        empty = RegionSums(
            {name: total.new_zeros(bare.shape) for name, total in on.items()},
            {name: total[bare] for name, total in background.items()},
            torch.zeros_like(bare),
            batch.voxels_per_block[bare],
        )
        values = torch.cat([values, criterion.score(empty)])
    return _scores(values, torch.cat([block, bare]), batch)


def cell_scores(
    batch: Batch,
    instances: Instances,
    cells: torch.Tensor,
    criterion: Criterion,
    inverse_size_weighting: bool = False,
) -> InstanceScores:
    """Score the nearest-instance cell of each instance, ``cells`` (B, C, *spatial); one without target by its presence.

    Source: Bouteille et al., CC-DiceCE, ISBI 2026, arXiv 2511.17146, for cells of true instances; *BiCC*, arXiv
    2609.30223, for those of predicted ones. A criterion that is no RegionLoss is called once an instance, on an empty
    target too.

    Returns:
        Scores (N + blocks without instances,). Differentiable in the probabilities.
    """
    cells = cells.flatten(0, 1)
    if batch.ignored is not None:
        cells = cells.masked_fill(batch.ignored, 0)
    if not isinstance(criterion, RegionLoss):
        return _generic_scores(batch, instances, criterion, lambda block, k: cells[block] == k)
    # id 0 collects what lies in no cell
    ids, count = cells.reshape(-1), instances.count + 1
    owner = ids[batch.target_position]
    on = {name: segment_sum(batch.on_target.map(name), owner, count)[1:] for name in criterion.on}
    off_target = batch.voxels.zeroed(batch.target)
    off = {name: segment_sum(off_target.map(name).reshape(-1), ids, count)[1:] for name in criterion.off}
    target_voxels = torch.bincount(owner, minlength=count)[1:]
    sums = RegionSums(on, off, target_voxels, torch.bincount(ids, minlength=count)[1:])
    values = criterion.score(sums.balanced() if inverse_size_weighting else sums)
    empty = target_voxels == 0
    if bool(empty.any()):
        # without target, what is off it is all there is
        within = positions(torch.cat([empty.new_zeros(1), empty])[ids])
        shown = presence(off_target.p.reshape(-1)[within], ids[within], count)[1:]
        values = torch.where(empty, criterion.score_false(sums, shown), values)
    bare = _bare(instances, batch)
    if bare.numel():
        whole = RegionSums(*batch.sums(criterion.on, criterion.off), batch.target_voxels, batch.voxels_per_block)
        values = torch.cat([values, criterion.score(whole)[bare]])
    return _scores(values, torch.cat([instances.block, bare]), batch)


def _scores(values: torch.Tensor, block: torch.Tensor, batch: Batch) -> InstanceScores:
    total = segment_sum(values, block, batch.blocks)
    return InstanceScores(values, block, total, torch.bincount(block, minlength=batch.blocks))


def _bare(instances: Instances, batch: Batch) -> torch.Tensor:
    """int64: blocks without an instance, which are scored as a whole."""
    return (torch.bincount(instances.block, minlength=batch.blocks) == 0).nonzero().squeeze(1)


def _generic_scores(
    batch: Batch, instances: Instances, criterion: Criterion, region: Callable[[int, int], torch.Tensor]
) -> InstanceScores:
    """Scores by a criterion that is no RegionLoss: ``region(block, id)`` is a mask (*spatial)."""
    p, bare = batch.voxels.p, _bare(instances, batch)

    def regions() -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        for k, block in enumerate(instances.block.tolist()):
            inside = region(block, k + 1)
            yield p[block], inside, batch.target[block] & inside
        for block in bare.tolist():
            yield p[block], batch.kept[block], batch.target[block]

    return _scores(masked.region_scores(criterion, regions(), p), torch.cat([instances.block, bare]), batch)
