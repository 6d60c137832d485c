from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import ndimage


def _scipy_labels(mask: torch.Tensor, connectivity: int | None = None) -> tuple[torch.Tensor, list[int]]:
    """Labels by scipy, block by block, renumbered so that ids follow each component's first voxel in raster order."""
    foreground = mask.numpy() != 0
    labels = np.zeros(mask.shape, dtype=np.int32)
    counts = []
    for block in np.ndindex(*mask.shape[:2]):
        dims = mask.ndim - 2
        found, count = ndimage.label(foreground[block], ndimage.generate_binary_structure(dims, connectivity or dims))
        ids, first = np.unique(found, return_index=True)
        in_order = [k for _, k in sorted(zip(first, ids, strict=True)) if k]
        for new, old in enumerate(in_order, start=1 + sum(counts)):
            labels[block][found == old] = new
        counts.append(count)
    return torch.from_numpy(labels), counts


@pytest.fixture(scope="session")
def scipy_labels() -> Callable[..., tuple[torch.Tensor, list[int]]]:
    return _scipy_labels


def _snake(side: int) -> torch.Tensor:
    """A (side, side) mask of one path that runs along every second row, turning at alternate ends."""
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[::2] = True
    mask[1::4, -1] = True
    mask[3::4, 0] = True
    return mask


def _spiral(side: int) -> torch.Tensor:
    """A (side, side) mask of one path that winds inwards, one voxel of background between its turns."""
    mask = torch.zeros(side, side, dtype=torch.bool)
    row = col = 0
    d_row, d_col = 0, 1
    length = side - 1
    mask[0, 0] = True
    # steps of a square spiral: n, n, n, n-2, n-2, n-4, n-4, ...
    lengths = [length] * 3
    while length > 2:
        length -= 2
        lengths += [length] * 2
    for steps in lengths:
        for _ in range(steps):
            row, col = row + d_row, col + d_col
            mask[row, col] = True
        d_row, d_col = d_col, -d_row
    return mask


@pytest.fixture(scope="session", params=["snake", "spiral"])
def long_path(request: pytest.FixtureRequest) -> torch.Tensor:
    """One component that is more than 1000 voxels long from end to end, as a (1, 1, side, side) mask."""
    path = {"snake": _snake, "spiral": _spiral}[request.param](49)
    assert ndimage.label(path.numpy())[1] == 1
    assert int(path.sum()) > 1000
    return path[None, None]
