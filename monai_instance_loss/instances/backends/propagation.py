"""Labelling in plain torch operations, on any device: exact, and the oracle for the faster backends."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch


@dataclass(frozen=True, eq=False)
class DenseLabels:
    """A whole map of labels."""

    labels: torch.Tensor

    def dense(self) -> torch.Tensor:
        """int32 labels of the shape of the mask."""
        return self.labels

    def at(self, position: torch.Tensor, inside: torch.Tensor | None = None) -> torch.Tensor:
        """int32 labels (V,) at flat positions (V,)."""
        return self.labels.reshape(-1)[position]


def label_blocks_torch(mask: torch.Tensor, connectivity: int) -> tuple[DenseLabels, torch.Tensor]:
    """Label a bool (blocks, *spatial) mask by minimum-label hooking and pointer jumping; see ``label_blocks``.

    Works on the foreground voxels and the edges between them.
    """
    flat = mask.reshape(-1)
    position = flat.nonzero().squeeze(1)
    count = position.numel()
    compact = torch.full(mask.shape, -1, dtype=torch.int64, device=mask.device)
    compact.view(-1)[position] = torch.arange(count, device=mask.device)
    parent = merge(*_edges(compact, connectivity), count)

    # a root is its component's first voxel in raster order, so ranking the roots gives raster-order ids
    is_root = parent == torch.arange(count, device=mask.device)
    labels = torch.zeros(flat.shape, dtype=torch.int32, device=mask.device)
    labels[position] = is_root.cumsum(0)[parent].int()
    voxels = mask[0].numel()
    counts = torch.bincount(position[is_root] // voxels, minlength=mask.shape[0])
    return DenseLabels(labels.view(mask.shape)), counts


def merge(left: torch.Tensor, right: torch.Tensor, count: int) -> torch.Tensor:
    """The smallest node that each of ``count`` nodes is joined to by edges (left, right), int64 (count,).

    Each round hooks every root onto the smallest neighbouring root and then flattens the trees, until no edge joins two
    roots: there is no limit on the number of rounds, and a component of any shape is found whole.
    """
    parent = torch.arange(count, device=left.device)
    while left.numel():
        root_left, root_right = parent[left], parent[right]
        open_edges = root_left != root_right
        left, right = left[open_edges], right[open_edges]
        low = torch.minimum(root_left, root_right)[open_edges]
        high = torch.maximum(root_left, root_right)[open_edges]
        parent.scatter_reduce_(0, high, low, "amin")
        parent = _flatten_trees(parent)
    return parent


def _flatten_trees(parent: torch.Tensor) -> torch.Tensor:
    while True:
        grandparent = parent[parent]
        if torch.equal(grandparent, parent):
            return parent
        parent = grandparent


def _edges(compact: torch.Tensor, connectivity: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs of neighbouring foreground voxels, each pair once, within a block."""
    left, right = [], []
    for step in product((-1, 0, 1), repeat=compact.ndim - 1):
        # one of the two opposite steps is enough
        if step <= (0,) * len(step) or sum(map(abs, step)) > connectivity:
            continue
        here = compact[(slice(None), *(slice(max(0, -s), min(0, -s) or None) for s in step))]
        there = compact[(slice(None), *(slice(max(0, s), min(0, s) or None) for s in step))]
        joined = (here >= 0) & (there >= 0)
        left.append(here[joined])
        right.append(there[joined])
    return torch.cat(left), torch.cat(right)
