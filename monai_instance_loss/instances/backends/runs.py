"""Labelling of sparse masks on the CPU by runs of voxels: its time follows the foreground, not the volume."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch

from monai_instance_loss.instances.voxels import positions

# runs are looked up by cells of so many voxels, as a power of 2
_CELL = 7


@dataclass(frozen=True, eq=False)
class SparseLabels:
    """Labels of the foreground voxels.

    Attributes:
        shape: of the whole map.
        position: int64 (V,), flat positions of the foreground in ascending order.
        ids: int32 (V,), their labels.
    """

    shape: torch.Size
    position: torch.Tensor
    ids: torch.Tensor

    def dense(self) -> torch.Tensor:
        """int32 labels of the shape of the mask."""
        labels = torch.zeros(self.shape, dtype=torch.int32, device=self.ids.device)
        labels.view(-1)[self.position] = self.ids
        return labels

    def at(self, position: torch.Tensor, inside: torch.Tensor | None = None) -> torch.Tensor:
        """int32 labels (V,) at flat positions (V,) in ascending order."""
        labels = torch.zeros(position.shape, dtype=torch.int32, device=position.device)
        if inside is not None:
            labels.index_copy_(0, positions(inside), self.ids)
        elif position.numel():
            # the foreground is looked up among the positions, not they in it: it is the shorter of the two as a rule
            index = torch.searchsorted(position.contiguous(), self.position.contiguous()).clamp_(
                max=position.numel() - 1
            )
            found = position[index] == self.position
            labels[index[found]] = self.ids[found]
        return labels


def run_starts(position: torch.Tensor, width: int) -> np.ndarray:
    """Index among ascending flat positions (V,) of the first voxel of each run, in rows of ``width`` voxels."""
    where = position.numpy()
    # with a gap behind each row, in which every run ends
    spaced = where + where // width
    begins = np.ones(where.shape, dtype=bool)
    np.not_equal(spaced[1:], spaced[:-1] + 1, out=begins[1:])
    return np.flatnonzero(begins)


def label_runs(
    shape: torch.Size, position: torch.Tensor, first: np.ndarray, connectivity: int
) -> tuple[SparseLabels, torch.Tensor]:
    """Label a (blocks, *spatial) mask, given the flat positions of its foreground and where among them runs start.

    Voxels in a row along the last axis are one run. Runs of neighbouring rows that touch are found through a table of
    cells, which tells where to begin to look. The rest as in ``label_blocks``.
    """
    if not first.size:
        return SparseLabels(shape, position, position.int()), torch.zeros(shape[0], dtype=torch.int64)
    # numpy: these arrays are so short that what counts is the time to start an operation
    start, length = position.numpy()[first], np.diff(first, append=position.numel())
    root = _roots(_touching(start, length, tuple(shape[1:]), connectivity), start.size)
    # a root is the run with its component's first voxel in raster order, so ranking the roots gives raster-order ids
    roots = np.flatnonzero(root == np.arange(start.size))
    rank = np.empty(start.size, dtype=np.int32)
    rank[roots] = np.arange(1, roots.size + 1)
    # torch takes two thirds of numpy's time to repeat
    ids = torch.from_numpy(rank[root]).repeat_interleave(torch.from_numpy(length), output_size=position.numel())
    counts = np.bincount(start[roots] // math.prod(shape[1:]), minlength=shape[0])
    return SparseLabels(shape, position, ids), torch.from_numpy(counts)


def _touching(
    start: np.ndarray, length: np.ndarray, spatial: tuple[int, ...], connectivity: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of runs (earlier, later) in neighbouring rows, from their first voxels and lengths (R,); each pair once.

    They come in parts, in none of which a run is the later one twice.
    """
    row = start // spatial[-1]
    padded, strides = _padded_rows(row, spatial[:-1])
    width = spatial[-1] + 1
    begin = start - row * spatial[-1] + padded * width
    end = begin + length - 1
    # the first run that ends in each cell or after it; behind the last run there is one out of reach
    cell = end >> _CELL
    first = np.zeros(cell[-1] + 2, dtype=np.int64)
    np.cumsum(np.bincount(cell), out=first[1:])
    begins, ends = (np.append(at, np.iinfo(np.int64).max) for at in (begin, end))
    parts = [(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))]
    for step in product((-1, 0, 1), repeat=len(strides)):
        # one of two opposite steps is enough, and runs of one row do not touch
        if step >= (0,) * len(strides) or sum(map(abs, step)) > connectivity:
            continue
        move = sum(move * stride for move, stride in zip(step, strides, strict=True))
        # a step along the last axis as well, where connectivity leaves one
        reach = min(1, connectivity - sum(map(abs, step)))
        low, high = begin + (move * width - reach), end + (move * width + reach)
        other = first[low >> _CELL]
        behind = np.flatnonzero(ends[other] < low)
        while behind.size:
            other[behind] = after = other[behind] + 1
            behind = behind[ends[after] < low[behind]]
        # the first run that touches, then the second where there is one, and so on
        run = np.flatnonzero(begins[other] <= high)
        other, high = other[run], high[run]
        while run.size:
            parts.append((other, run))
            after = other + 1
            touches = np.flatnonzero(begins[after] <= high)
            run, other, high = run[touches], after[touches], high[touches]
    return parts


def _padded_rows(row: np.ndarray, rows: tuple[int, ...]) -> tuple[np.ndarray, list[int]]:
    """Numbers of rows (R,) in a grid with an empty row behind each plane, an empty plane behind each volume and so on.

    A step out of a volume then ends in an empty row, and no step needs a check. Also the strides of the grid's axes.
    """
    padded, outer, strides = row.copy(), row, [1]
    for extent in reversed(rows):
        outer = outer // extent
        padded += outer * strides[0]
        strides.insert(0, strides[0] * (extent + 1))
    # further from the first row than a step goes back
    return padded + sum(strides[1:]) + 1, strides[1:]


def _roots(pairs: list[tuple[np.ndarray, np.ndarray]], count: int) -> np.ndarray:
    """The smallest of the runs that each of ``count`` runs is joined to by pairs (earlier, later), int64 (count,)."""
    root = np.arange(count)
    # most of the work, without a scatter: each run below the first one that it touches
    for earlier, later in pairs:
        root[later] = np.minimum(root[later], earlier)
    root = _flattened(root)
    # the rest as `merge` of `propagation.py` does it, in a third of its time on arrays as short as these
    opened = [_open(root[one], root[two]) for one, two in pairs]
    left, right = (np.concatenate(each) for each in zip(*opened, strict=True))
    while left.size:
        high = np.maximum(left, right)
        np.minimum.at(root, high, np.minimum(left, right))
        # of the roots that are still looked at, only these have moved
        while not np.array_equal(above := root[root[high]], root[high]):
            root[high] = above
        left, right = _open(root[left], root[right])
    return _flattened(root)


def _flattened(root: np.ndarray) -> np.ndarray:
    while not np.array_equal(above := root[root], root):
        root = above
    return root


def _open(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs that differ."""
    where = np.flatnonzero(left != right)
    return left[where], right[where]
