"""Where instances are: boxes and centres of mass, merged from voxels or from fragments alike."""

from __future__ import annotations

import torch

__all__ = ["coordinate_sums", "merge_boxes"]


def merge_boxes(
    low: torch.Tensor, high: torch.Tensor, ids: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Smallest box around all boxes that share an id; a voxel is the box whose corners are the voxel.

    Source: ours. Differentiable: nothing.

    Args:
        low: int64 (n, spatial dims), lowest index of each box along each axis, inclusive, in voxels.
        high: int64 (n, spatial dims), highest index, inclusive.
        ids: int64 (n,), each in 0..count-1.
        count: the number of merged boxes.

    Returns:
        Two int64 (count, spatial dims), lowest and highest index; 0 where nothing has the id.

    Example:
        >>> import torch
        >>> voxels = torch.tensor([[0, 1], [0, 2], [1, 2]])
        >>> merge_boxes(voxels, voxels, torch.tensor([0, 0, 0]), 1)
        (tensor([[0, 1]]), tensor([[1, 2]]))
    """
    return _merge(low, ids, count, "amin"), _merge(high, ids, count, "amax")


def coordinate_sums(coordinates: torch.Tensor, ids: torch.Tensor, count: int) -> torch.Tensor:
    """Sum of the voxel indices that share an id, axis by axis; divided by the number of voxels, the centre of mass.

    Source: ours. The sums stay integers, so that rounding a centre never depends on float error. Differentiable:
    nothing.

    Args:
        coordinates: int64 (n, spatial dims), voxel indices or sums of them.
        ids: int64 (n,), each in 0..count-1.
        count: the number of sums.

    Returns:
        int64 (count, spatial dims).

    Example:
        >>> import torch
        >>> coordinate_sums(torch.tensor([[0, 1], [0, 2], [1, 2]]), torch.tensor([0, 0, 0]), 1)
        tensor([[1, 5]])
    """
    # one axis at a time: torch's one-dimensional scatters are far faster than its row-wise ones
    return torch.stack([axis.new_zeros(count).index_add_(0, ids, axis) for axis in coordinates.unbind(1)], 1)


def _merge(corner: torch.Tensor, ids: torch.Tensor, count: int, reduce: str) -> torch.Tensor:
    return torch.stack(
        [axis.new_zeros(count).scatter_reduce_(0, ids, axis, reduce, include_self=False) for axis in corner.unbind(1)],
        1,
    )
