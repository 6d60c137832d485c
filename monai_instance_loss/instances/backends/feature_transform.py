"""Nearest labels by whole numbers, on the device of the labels: an exact Euclidean feature transform."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

__all__ = ["nearest_labels"]

# digits of squared voxel sizes behind the decimal point, of which there are one or two in front of it
_DIGITS = 9
# so many lines are searched at a time on the CPU, which stay in the cache of a core
_CPU_LINES = 512
# and lines of so many voxels on a GPU, which bounds the memory
_GPU_VOXELS = 2**24
# one row in so many is searched from first; after that most of the others have little to offer
_STRIDE = 8
# voxels along the edge of the cells by which the largest distance is bounded
_CELL = 4


def nearest_labels(labels: torch.Tensor, spacing: Sequence[float]) -> torch.Tensor:
    """The label of the labelled voxel that is nearest to each voxel; of equally near ones the smallest label.

    Source: squared distances are separable, so that each axis is minimised after the other (Maurer et al., IEEE TPAMI
    2003; Felzenszwalb and Huttenlocher, Theory of Computing 2012). Squared distance and label make one whole number, so
    that its minimum is the smallest label of the nearest ones, the same on every device. Differentiable: nothing.

    Args:
        labels: integer (blocks, *spatial), 0 being background, below 2**31; on any device.
        spacing: size of a voxel along each spatial axis, in any unit. Squared sizes are rounded to ten digits of the
            largest one, or to fewer where squared distances would not fit into 64 bits: that decides what is equally
            near.

    Returns:
        A new tensor of the shape and type of ``labels``; 0 in blocks that have no label.

    Example:
        >>> import torch
        >>> nearest_labels(torch.tensor([[[3, 0, 0, 0, 2], [0, 0, 0, 0, 0]]]), (1.0, 1.0)).tolist()
        [[[3, 3, 2, 2, 2], [3, 3, 2, 2, 2]]]
    """
    if labels.numel() == 0:
        return torch.zeros_like(labels)
    base = 1 << int(labels.max()).bit_length()
    weights = [weight * base for weight in _whole_squares(spacing, labels.shape[1:], base)]
    limit = _largest(labels, weights) + base
    dtype = torch.int32 if limit <= _never(torch.int32) else torch.int64
    keys = labels.to(dtype).masked_fill(labels == 0, _never(dtype))
    for axis, weight in reversed(list(enumerate(weights, 1))):
        keys = _search_axis(keys, axis, weight, limit)
    return (keys & (base - 1)).to(labels.dtype).contiguous()


def _never(dtype: torch.dtype) -> int:
    """A key of no label that is above all others, and to which another one can be added."""
    return torch.iinfo(dtype).max // 2 + 1


def _whole_squares(spacing: Sequence[float], shape: Sequence[int], base: int) -> list[int]:
    """Squared voxel sizes as whole numbers, ``base`` times whose sums fit into 64 bits.

    In units of a power of ten: equal distances along axes of different size (10 times 0.9 and 3 times 3.0) stay equal,
    and sums do not depend on their order. Floats would break such ties at random.
    """
    scale = 10.0 ** -math.floor(math.log10(max(spacing)))
    digits = _DIGITS
    while True:
        squares = [max(1, round((size * scale) ** 2 * 10.0**digits)) for size in spacing]
        weights = [square // math.gcd(*squares) for square in squares]
        farthest = sum(weight * (extent + _CELL) ** 2 for weight, extent in zip(weights, shape, strict=True))
        if farthest * base < _never(torch.int64):
            return weights
        digits -= 1


def _largest(labels: torch.Tensor, weights: Sequence[int]) -> int:
    """A bound on the distances, squared and times the base as ``weights`` are: by cells instead of voxels."""
    block, *index = labels.nonzero().unbind(1)
    never = _never(torch.int64)
    shape = [-(-extent // _CELL) for extent in labels.shape[1:]]
    keys = torch.full((labels.shape[0], *shape), never, device=labels.device)
    keys[(block, *(torch.div(axis, _CELL, rounding_mode="floor") for axis in index))] = 0
    for axis, weight in enumerate(weights, 1):
        keys = _search_axis(keys, axis, weight, never, _CELL)
    return int(keys.masked_fill_(keys == never, 0).max())


def _search_axis(keys: torch.Tensor, axis: int, weight: int, limit: int, cell: int = 1) -> torch.Tensor:
    """The smallest key of each line along an axis, at ``weight`` times squared distance; exact where below ``limit``.

    Rows are ``cell`` voxels apart and wide, and distances are the largest between their voxels.
    """
    lines = keys.movedim(axis, 0)
    steps = torch.arange(lines.shape[0], device=keys.device)
    cost = ((steps[:, None] - steps).abs_() * cell + (cell - 1)).square_() * weight
    never = _never(keys.dtype)
    cost = cost.clamp_(max=never).to(keys.dtype)
    if keys.device.type == "cpu":
        # numpy takes half of torch's time to begin an operation, and starts no threads that would wait for each other
        pieces = (np.ascontiguousarray(piece) for piece in lines.flatten(1).split(_CPU_LINES, 1))
        arrays = [_search_lines(np, piece, cost.numpy(), steps.numpy(), limit, never) for piece in pieces]
        found = torch.from_numpy(np.concatenate(arrays, 1))
    else:
        width = max(1, _GPU_VOXELS // lines.shape[0])
        pieces = (piece.contiguous() for piece in lines.flatten(1).split(width, 1))
        found = torch.cat([_search_lines(torch, piece, cost, steps, limit, never) for piece in pieces], 1)
    return found.view(lines.shape).movedim(0, axis)


def _search_lines(xp: Any, keys: Any, cost: Any, steps: Any, limit: int, never: int) -> Any:
    """The smallest ``keys[row] + cost[row, at]`` of all rows, for each row ``at`` of (extent, lines).

    ``xp`` is numpy or torch, and the others are its arrays: all that is done here has the same name in both.
    """
    best, moved = xp.full_like(keys, never), xp.empty_like(keys)
    lowest = xp.amin(keys, 1)
    filled = steps[lowest < limit]
    early = steps[: len(filled)] % _STRIDE == 0
    for rows in (filled[early], filled[~early]):
        # elsewhere every line has something nearer already
        offered = lowest[rows, None] + cost[rows]
        useful = (offered < xp.amax(best, 1)) & (offered < limit)
        first = xp.amin(xp.where(useful, steps, len(steps)), 1).tolist()
        last = xp.amax(xp.where(useful, steps, -1), 1).tolist()
        for row, low, high in zip(rows.tolist(), first, last, strict=True):
            window = slice(low, high + 1)
            if low <= high:
                xp.add(keys[row], cost[row, window, None], out=moved[window])
                xp.minimum(best[window], moved[window], out=best[window])
    return best
