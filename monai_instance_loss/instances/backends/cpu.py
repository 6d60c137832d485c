"""CPU labelling: with connected-components-3d (cc3d), or by runs where the foreground is sparse."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cc3d
import numpy as np
import torch

from monai_instance_loss.instances.backends.runs import SparseLabels, label_runs, run_starts
from monai_instance_loss.instances.voxels import positions

# orthogonal steps -> number of neighbours, which is how cc3d names connectivity
_NEIGHBOURS = {1: 6, 2: 18, 3: 26}
# where there are fewer voxels than one in so many, and fewer runs, these take less time than cc3d's pass over all
_SPARSE_VOXELS, _SPARSE_RUNS = 16, 128


def label_blocks_cpu(
    mask: torch.Tensor,
    connectivity: int,
    position: torch.Tensor | None = None,
    inside: torch.Tensor | None = None,
) -> tuple[BlockLabels | SparseLabels, torch.Tensor]:
    """Label a bool (blocks, *spatial) mask; see ``label_blocks``."""
    count = position.numel() if position is not None and inside is None else _count(mask if inside is None else inside)
    if count * _SPARSE_VOXELS <= mask.numel():
        if position is None:
            position = positions(mask)
        elif inside is not None:
            position = position.index_select(0, positions(inside))
        first = run_starts(position, mask.shape[-1])
        if first.size * _SPARSE_RUNS <= mask.numel():
            return label_runs(mask.shape, position, first, connectivity)
    return label_blocks_cc3d(mask, connectivity)


def label_blocks_cc3d(mask: torch.Tensor, connectivity: int) -> tuple[BlockLabels, torch.Tensor]:
    """Label a bool (blocks, *spatial) mask block by block; see ``label_blocks``."""
    # cc3d's 3D algorithms number components by their first voxel in memory order, its 8-connected 2D one does not:
    # images are labelled as volumes of one slice, where the same steps join the same voxels
    blocks = mask.numpy() if mask.ndim == 4 else mask.numpy()[:, None]
    found = [_label(block, connectivity) for block in blocks]
    labels = BlockLabels(tuple(mask.shape), [ids for ids, _ in found], [count for _, count in found])
    return labels, torch.tensor(labels.counts, dtype=torch.int64)


@dataclass(frozen=True, eq=False)
class BlockLabels:
    """Labels as cc3d left them, one array a block, ids from 1 in each; put together only where they are asked for.

    A loss looks at the foreground, a per cent of a volume: writing the whole map costs more than finding components.
    """

    shape: tuple[int, ...]
    blocks: list[np.ndarray]
    counts: list[int]

    def dense(self) -> torch.Tensor:
        """int32 labels of the shape of the mask."""
        blocks = [torch.from_numpy(_as_int32(ids)) for ids in self.blocks]
        if len(blocks) == 1:
            return blocks[0].view(self.shape)
        labels = torch.empty(self.shape, dtype=torch.int32)
        for out, ids, offset in zip(labels, blocks, self._offsets(), strict=True):
            # the offset where there is a label, without a mask and without a pass that branches
            torch.clamp(ids.view(out.shape), max=1, out=out).mul_(offset).add_(ids.view(out.shape))
        return labels

    def at(self, position: torch.Tensor, inside: torch.Tensor | None = None) -> torch.Tensor:
        """int32 labels (V,) at flat positions (V,) in ascending order."""
        size = math.prod(self.shape[1:])
        bounds = torch.searchsorted(position.contiguous(), torch.arange(len(self.blocks) + 1) * size).tolist()
        labels = torch.empty(position.shape, dtype=torch.int32)
        for index, (ids, offset) in enumerate(zip(self.blocks, self._offsets(), strict=True)):
            within = slice(bounds[index], bounds[index + 1])
            where = position[within] - index * size if index else position[within]
            picked = torch.index_select(torch.from_numpy(_as_int32(ids)).view(-1), 0, where, out=labels[within])
            if offset:
                picked.add_(torch.clamp(picked, max=1), alpha=offset)
        return labels

    def _offsets(self) -> list[int]:
        return [sum(self.counts[:index]) for index in range(len(self.counts))]


def _count(mask: torch.Tensor) -> int:
    # a tenth of the time of torch's sum
    return int(np.count_nonzero(mask.numpy()))


def _as_int32(ids: np.ndarray) -> np.ndarray:
    # cc3d takes the narrowest type that is wide enough; what it has in 32 bits stays below 2**31
    ids = np.ascontiguousarray(ids)
    return ids.view(np.int32) if ids.dtype == np.uint32 else ids.astype(np.int32)


def _label(block: np.ndarray, connectivity: int) -> tuple[np.ndarray, int]:
    size = tuple(slice(extent) for extent in block.shape)
    odd = tuple(extent % 2 for extent in block.shape)
    if connectivity == 3 and any(odd):
        # cc3d 4.1.1 counts on half an odd extent rounded down, and runs out of labels when every second voxel is a
        # component of its own
        block = np.pad(block, [(0, extra) for extra in odd])
    # memory order is raster order only in a C-contiguous array
    found, count = cc3d.connected_components(
        np.ascontiguousarray(block), connectivity=_NEIGHBOURS[connectivity], binary_image=True, return_N=True
    )
    return found[size], count
