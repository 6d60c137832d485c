"""Smaller targets for the levels of a deeply supervised network, on which no lesion is lost."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

__all__ = ["shrink_target"]


def shrink_target(
    target: torch.Tensor, sizes: Sequence[Sequence[int]], ignore_index: int | None = None
) -> list[torch.Tensor]:
    """Shrink a target so that every voxel of foreground is still seen: values of the target, the same dtype.

    Source: ours. nnU-Net takes the nearest voxel, and a lesion between the voxels that it takes is gone (issue 1226 of
    MIC-DKFZ/nnUNet). Here a voxel of a level is foreground where any voxel in its place is. Lesions grow by this, and
    neighbours may join; none disappears. Where several labels meet, the one of the fewest voxels in the batch wins, of
    equals the smaller label; an ignored voxel wins over background alone. Differentiable: nothing.

    Args:
        target: (B, 1, *spatial) class labels from 0, or (B, C, *spatial) of 0 and 1; 2D or 3D, any dtype.
        sizes: spatial shape of each level, no axis longer than the target's.
        ignore_index: value of ignored voxels, -1 or more.

    Returns:
        One target a level; at the size of ``target`` it is ``target`` itself.

    Raises:
        ValueError: a value below -1, or a size that is larger than the target's.

    Example:
        >>> target = torch.tensor([[[[0, 1, 0, 0], [0, 0, 0, 0], [2, 2, 0, 0], [2, 2, 0, 1]]]])
        >>> shrink_target(target, [(2, 2)])[0].tolist()
        [[[[1, 0], [2, 1]]]]
    """
    full = tuple(target.shape[2:])
    too_large = [size for size in sizes if len(size) != len(full) or any(map(int.__gt__, size, full))]
    if too_large:
        raise ValueError(f"Expected `sizes` to be of {len(full)} axes, none above {full}, but got {too_large[0]}.")
    if all(tuple(size) == full for size in sizes):
        return [target for _ in sizes]
    if int(target.min()) < -1:
        raise ValueError(f"Expected `target` to hold labels, -1 or more, but got {int(target.min())}.")
    values = target.long() + 1
    by_rank = _by_rank(values, None if ignore_index is None else ignore_index + 1)
    rank = torch.empty_like(by_rank)
    rank[by_rank] = torch.arange(len(by_rank), device=rank.device)
    ranks = rank[values].float()
    pool = F.adaptive_max_pool2d if len(full) == 2 else F.adaptive_max_pool3d
    shrunk = []
    for size in sizes:
        if tuple(size) == full:
            shrunk.append(target)
            continue
        highest: torch.Tensor = pool(ranks, tuple(size)).long()
        if ignore_index is not None and target.shape[1] > 1:
            # an ignored voxel is ignored in all channels: it must not hide a lesion in another one
            lesion = (highest > 1).any(1, keepdim=True)
            highest = highest.masked_fill(lesion & (highest == 1), 0)
        shrunk.append((by_rank[highest] - 1).to(target.dtype))
    return shrunk


def _by_rank(values: torch.Tensor, ignored: int | None) -> torch.Tensor:
    """Values (each one more than its label) in the order in which they win: background, ignored, common, rare."""
    counts = torch.bincount(values.flatten(), minlength=2 if ignored is None else max(2, ignored + 1))
    first = [1] if ignored is None else [1, ignored]
    # of equals the smaller label comes last, and wins
    order = counts.flip(0).argsort(descending=True, stable=True)
    order = len(counts) - 1 - order
    rest = order[torch.isin(order, torch.tensor(first, device=order.device), invert=True)]
    return torch.cat([torch.tensor(first, device=order.device), rest])
