"""Single lesions of a wanted volume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monai_instance_loss._optional import import_extra

__all__ = ["draw_blob", "seed_voxels"]

ndimage = import_extra("scipy.ndimage")
Rotation = import_extra("scipy.spatial.transform", "Rotation")

_TOUCHING = np.ones((3, 3, 3), dtype=bool)


def seed_voxels(rng: np.random.Generator, density: NDArray[np.floating], n_seeds: int) -> NDArray[np.int64]:
    """Draw voxels with a probability proportional to ``density``.

    Source: inverse of the cumulative sum.

    Args:
        rng: random generator.
        density: non-negative weights, (X, Y, Z).
        n_seeds: voxels to draw.

    Returns:
        Voxel indices, (n_seeds, 3) int64; no rows when ``density`` is zero everywhere.

    Example:
        >>> density = np.zeros((3, 3, 3))
        >>> density[1, 2, 0] = 1
        >>> seed_voxels(np.random.default_rng(0), density, 1).tolist()
        [[1, 2, 0]]
    """
    cumulative = np.cumsum(density, dtype=np.float64)
    if cumulative[-1] <= 0:
        return np.empty((0, 3), dtype=np.int64)
    flat = np.searchsorted(cumulative, rng.random(n_seeds) * cumulative[-1], side="right")
    return np.stack(np.unravel_index(flat, density.shape), axis=1).astype(np.int64)


def draw_blob(
    rng: np.random.Generator,
    mask: NDArray[np.bool_],
    allowed: NDArray[np.bool_],
    seed: Sequence[int] | NDArray[np.int64],
    volume_mm3: float,
    spacing_mm: Sequence[float],
    irregularity: float = 1.0,
) -> None:
    """Add an irregular connected blob to ``mask`` in place; nothing is added where none fits.

    Source: the voxels nearest to the seed under a random ellipsoid metric roughened by noise, so that the
    volume is met at any voxel size.

    Args:
        rng: random generator.
        mask: lesions so far, (X, Y, Z) bool.
        allowed: where the blob may lie, (X, Y, Z) bool.
        seed: centre voxel.
        volume_mm3: volume wanted in mm3, at least two voxels.
        spacing_mm: voxel size in mm.
        irregularity: 0 for a ball, 1 for a ragged and stretched one.

    Example:
        >>> mask = np.zeros((9, 9, 9), dtype=bool)
        >>> draw_blob(np.random.default_rng(0), mask, ~mask, (4, 4, 4), 20.0, (1, 1, 1))
        >>> int(mask.sum()) <= 20
        True
    """
    n_voxels = max(2, round(volume_mm3 / float(np.prod(spacing_mm))))
    radius_mm = (volume_mm3 * 3 / (4 * np.pi)) ** (1 / 3)
    reach = [int(np.ceil(2.2 * radius_mm / s)) + 1 for s in spacing_mm]
    box = tuple(slice(max(0, int(c) - r), int(c) + r + 1) for c, r in zip(seed, reach, strict=True))
    steps = [np.arange(b.start, min(b.stop, n)) - int(c) for b, c, n in zip(box, seed, mask.shape, strict=True)]
    jitter = rng.uniform(-0.4, 0.4, size=3)
    axes_mm = [(g + j) * s for g, j, s in zip(steps, jitter, spacing_mm, strict=True)]
    offset_mm = np.stack(np.meshgrid(*axes_mm, indexing="ij"))
    rotation = Rotation.from_quat(rng.standard_normal(4)).as_matrix()
    metric = rotation / rng.uniform(0.6, 1.5, size=3)[:, None] ** irregularity
    distance = np.linalg.norm(np.tensordot(metric, offset_mm, axes=1), axis=0)
    rough = ndimage.gaussian_filter(rng.standard_normal(distance.shape), [1.2 / s for s in spacing_mm])
    distance *= 1 + 0.3 * irregularity * np.clip(rough / max(float(rough.std()), 1e-6), -2, 2)
    free = allowed[box] & ~ndimage.binary_dilation(mask[box], _TOUCHING)
    if np.count_nonzero(free) < n_voxels:
        return
    distance[~free] = np.inf
    nearest = np.argpartition(distance.ravel(), n_voxels - 1)[:n_voxels]
    blob = np.zeros(distance.size, dtype=bool)
    blob[nearest] = True
    labels, _ = ndimage.label(blob.reshape(distance.shape), _TOUCHING)
    size = np.bincount(labels.ravel())
    size[0] = 0
    if size.max() >= 2:
        mask[box] |= labels == size.argmax()
