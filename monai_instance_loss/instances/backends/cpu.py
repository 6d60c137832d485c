"""CPU labelling with connected-components-3d (cc3d)."""

from __future__ import annotations

import cc3d
import numpy as np
import torch

# orthogonal steps -> number of neighbours, which is how cc3d names connectivity
_NEIGHBOURS = {1: 6, 2: 18, 3: 26}


def label_blocks_cpu(mask: torch.Tensor, connectivity: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Label a bool (blocks, *spatial) mask block by block; see ``label_blocks``."""
    labels = np.empty(tuple(mask.shape), dtype=np.int32)
    # cc3d's 3D algorithms number components by their first voxel in memory order, its 8-connected 2D one does not:
    # images are labelled as volumes of one slice, where the same steps join the same voxels
    slices = labels if mask.ndim == 4 else labels[:, None]
    counts = []
    offset = 0
    for block, out in zip(mask.numpy().reshape(slices.shape), slices, strict=True):
        found, count = _label(block, connectivity)
        if offset == 0 or count == 0:
            out[...] = found
        else:
            np.add(found, offset, out=out, casting="unsafe", dtype=np.int32)
            out *= block
        counts.append(count)
        offset += count
    return torch.from_numpy(labels), torch.tensor(counts, dtype=torch.int64)


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
