"""Labelling of sparse masks on the CPU by runs of voxels: its time follows the foreground, not the volume."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch

from monai_instance_loss.instances.backends.propagation import merge


@dataclass(frozen=True, eq=False)
class SparseLabels:
    """Labels of the foreground voxels.

    Attributes:
        shape: of the whole map.
        position: int64 (V,), flat positions of the foreground in ascending order.
        ids: int64 (V,), their labels.
    """

    shape: torch.Size
    position: torch.Tensor
    ids: torch.Tensor

    def dense(self) -> torch.Tensor:
        """int32 labels of the shape of the mask."""
        labels = torch.zeros(self.shape, dtype=torch.int32, device=self.ids.device)
        labels.view(-1)[self.position] = self.ids.int()
        return labels

    def at(self, position: torch.Tensor) -> torch.Tensor:
        """int64 labels (V,) at flat positions (V,)."""
        if self.position.numel() == 0:
            return torch.zeros_like(position)
        index = torch.searchsorted(self.position, position.contiguous()).clamp_(max=self.position.numel() - 1)
        return torch.where(self.position[index] == position, self.ids[index], 0)


def label_blocks_runs(
    shape: torch.Size, position: torch.Tensor, connectivity: int
) -> tuple[SparseLabels, torch.Tensor]:
    """Label a (blocks, *spatial) mask, given by the flat positions of its foreground; see ``label_blocks``.

    Voxels in a row along the last axis are one run. Runs of neighbouring rows that touch are found by binary search,
    and joined as ``label_blocks_torch`` joins voxels.
    """
    # numpy: these arrays are so short that what counts is the time to start an operation
    where = position.numpy()
    begins = np.ones(where.shape, dtype=bool)
    begins[1:] = (where[1:] != where[:-1] + 1) | (where[1:] % shape[-1] == 0)
    # a run ends where the next one begins, the last one with the last voxel
    start, end = where[begins], where[np.concatenate([begins[1:], begins[:1]])]
    left, right = _touching(start, end, tuple(shape[1:]), connectivity)
    parent = merge(torch.from_numpy(left), torch.from_numpy(right), start.size).numpy()

    # a root is the run with its component's first voxel in raster order, so ranking the roots gives raster-order ids
    is_root = parent == np.arange(start.size)
    ids = np.cumsum(is_root)[parent][np.cumsum(begins) - 1]
    counts = np.bincount(start[is_root] // math.prod(shape[1:]), minlength=shape[0])
    return SparseLabels(shape, position, torch.from_numpy(ids)), torch.from_numpy(counts)


def _touching(
    start: np.ndarray, end: np.ndarray, spatial: tuple[int, ...], connectivity: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of runs, from their first and last voxels (R,), in neighbouring rows; each pair once."""
    rows, width = spatial[:-1], spatial[-1]
    row, zero = start // width, (0,) * len(rows)
    strides = [math.prod(rows[axis + 1 :]) for axis in range(len(rows))]
    coordinates = [row // stride % extent for stride, extent in zip(strides, rows, strict=True)]
    left, right = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for step in product((-1, 0, 1), repeat=len(rows)):
        # one of two opposite steps is enough, and runs of one row do not touch
        if step >= zero or sum(map(abs, step)) > connectivity:
            continue
        there = [at + move for at, move in zip(coordinates, step, strict=True)]
        inside = np.logical_and.reduce([(at >= 0) & (at < extent) for at, extent in zip(there, rows, strict=True)])
        run = np.flatnonzero(inside)
        move = sum(move * stride for move, stride in zip(step, strides, strict=True)) * width
        # a step along the last axis as well, where connectivity leaves one
        reach = min(1, connectivity - sum(map(abs, step)))
        first = row[run] * width + move
        low = np.searchsorted(end, np.maximum(start[run] + move - reach, first))
        high = np.searchsorted(start, np.minimum(end[run] + move + reach, first + width - 1), side="right")
        count = np.maximum(high - low, 0)
        left.append(np.repeat(run, count))
        right.append(np.arange(count.sum()) + np.repeat(low - np.cumsum(count) + count, count))
    return np.concatenate(left), np.concatenate(right)
