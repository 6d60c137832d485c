"""The slow path: criteria that are no function of region sums, called on masked volumes, one call an instance."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from monai_instance_loss.losses.engine.overlap import VoxelOverlap

__all__ = ["block_scores", "pred_scores", "region_scores", "true_scores"]

_Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def true_scores(overlap: VoxelOverlap, criterion: _Loss, exclude_other_tp: bool) -> torch.Tensor:
    """``terms.true_scores`` for any callable: O(voxels) for each true instance."""

    def regions() -> Iterable[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        for k, block in enumerate(overlap.true.block.tolist()):
            p, true, pred = _block(overlap, block)
            touching = overlap.pair_pred[overlap.pair_true == k] + 1
            added = torch.isin(pred, touching)
            if exclude_other_tp:
                added &= true == 0
            lesion = true == k + 1
            yield p, lesion | added, lesion

    return region_scores(criterion, regions(), overlap.batch.foreground.p)


def pred_scores(overlap: VoxelOverlap, criterion: _Loss) -> torch.Tensor:
    """``terms.pred_scores`` for any callable: O(voxels) for each predicted instance."""

    def regions() -> Iterable[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        for j, block in enumerate(overlap.pred.block.tolist()):
            p, true, pred = _block(overlap, block)
            touched = overlap.pair_true[overlap.pair_pred == j] + 1
            yield p, pred == j + 1, torch.isin(true, touched)

    return region_scores(criterion, regions(), overlap.batch.foreground.p)


def block_scores(criterion: _Loss, p: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The criterion (n,) on n maps (n, *spatial), one call each."""
    values = [_scalar(criterion(a[None, None], b[None, None].to(p.dtype))) for a, b in zip(p, target, strict=True)]
    return torch.stack(values) if values else p.new_zeros(0)


def region_scores(
    criterion: _Loss, regions: Iterable[tuple[torch.Tensor, torch.Tensor, torch.Tensor]], like: torch.Tensor
) -> torch.Tensor:
    """The criterion (n,) on n triples of probabilities, region and target (*spatial), one call each."""
    values = [
        _scalar(criterion(torch.where(region, p, 0)[None, None], target[None, None].to(p.dtype)))
        for p, region, target in regions
    ]
    return torch.stack(values) if values else like.new_zeros(0)


def _block(overlap: VoxelOverlap, block: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    true, pred = (instances.labels.flatten(0, 1)[block] for instances in overlap.instances)
    return overlap.batch.voxels.p[block], true, pred


def _scalar(value: torch.Tensor) -> torch.Tensor:
    if value.numel() != 1:
        raise ValueError(
            f"Expected a criterion to return one number for one region, but got shape {tuple(value.shape)}; "
            'set its reduction to "mean" or "sum".'
        )
    return value.reshape(())
