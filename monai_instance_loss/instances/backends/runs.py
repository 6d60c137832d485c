"""Labelling of sparse masks on the CPU by runs of voxels: its time follows the foreground, not the volume."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch


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

    def at(self, position: torch.Tensor, inside: torch.Tensor | None = None) -> torch.Tensor:
        """int32 labels (V,) at flat positions (V,) in ascending order."""
        labels = torch.zeros(position.shape, dtype=torch.int32, device=position.device)
        if inside is not None:
            labels[inside] = self.ids.int()
        elif position.numel():
            # the foreground is looked up among the positions, not they in it: it is the shorter of the two as a rule
            index = torch.searchsorted(position.contiguous(), self.position).clamp_(max=position.numel() - 1)
            found = position[index] == self.position
            labels[index[found]] = self.ids[found].int()
        return labels


def label_blocks_runs(
    shape: torch.Size, position: torch.Tensor, connectivity: int
) -> tuple[SparseLabels, torch.Tensor]:
    """Label a (blocks, *spatial) mask, given by the flat positions of its foreground; see ``label_blocks``.

    Voxels in a row along the last axis are one run. Runs of neighbouring rows that touch are found by binary search.
    """
    return label_runs(shape, position, run_starts(position, shape[-1]), connectivity)


def run_starts(position: torch.Tensor, width: int) -> np.ndarray:
    """Index among ascending flat positions (V,) of the first voxel of each run, in rows of ``width`` voxels."""
    where = position.numpy()
    begins = np.ones(where.shape, dtype=bool)
    begins[1:] = (where[1:] != where[:-1] + 1) | (where[1:] % width == 0)
    return np.flatnonzero(begins)


def label_runs(
    shape: torch.Size, position: torch.Tensor, first: np.ndarray, connectivity: int
) -> tuple[SparseLabels, torch.Tensor]:
    """``label_blocks_runs``, given the index of the first voxel of each run."""
    # numpy: these arrays are so short that what counts is the time to start an operation
    start, length = position.numpy()[first], np.diff(first, append=position.numel())
    root = _roots(*_touching(start, start + length - 1, tuple(shape[1:]), connectivity), start.size)
    # a root is the run with its component's first voxel in raster order, so ranking the roots gives raster-order ids
    is_root = root == np.arange(start.size)
    ids = np.repeat(np.cumsum(is_root)[root], length)
    counts = np.bincount(start[is_root] // math.prod(shape[1:]), minlength=shape[0])
    return SparseLabels(shape, position, torch.from_numpy(ids)), torch.from_numpy(counts)


def _touching(
    start: np.ndarray, end: np.ndarray, spatial: tuple[int, ...], connectivity: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of runs (earlier, later) in neighbouring rows, from their first and last voxels (R,); each pair once."""
    rows, width = spatial[:-1], spatial[-1]
    row, zero = start // width, (0,) * len(rows)
    strides = [math.prod(rows[axis + 1 :]) for axis in range(len(rows))]
    coordinates = [row // stride % extent for stride, extent in zip(strides, rows, strict=True)]
    begins = np.append(start, np.iinfo(np.int64).max)
    earlier, later = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
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
        last = np.minimum(end[run] + move + reach, first + width - 1)
        other = np.searchsorted(end, np.maximum(start[run] + move - reach, first))
        # the first run that touches, then the second where there is one, and so on
        while run.size:
            touches = np.flatnonzero(begins[other] <= last)
            run, other, last = run[touches], other[touches], last[touches]
            earlier.append(other)
            later.append(run)
            other = other + 1
    return np.concatenate(earlier), np.concatenate(later)


def _roots(left: np.ndarray, right: np.ndarray, count: int) -> np.ndarray:
    """The smallest of the runs that each of ``count`` runs is joined to by pairs (left, right), int64 (count,).

    Hooks and flattens as ``merge`` of ``propagation.py`` does, in a third of its time on arrays as short as these.
    """
    root = np.arange(count)
    while True:
        root_left, root_right = root[left], root[right]
        is_open = np.flatnonzero(root_left != root_right)
        if is_open.size == 0:
            return root
        left, right, root_left, root_right = (each[is_open] for each in (left, right, root_left, root_right))
        np.minimum.at(root, np.maximum(root_left, root_right), np.minimum(root_left, root_right))
        while not np.array_equal(above := root[root], root):
            root = above
