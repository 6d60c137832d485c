"""Smooth random fields."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["smooth_noise"]


def smooth_noise(
    rng: np.random.Generator, shape: Sequence[int], spacing_mm: Sequence[float], scale_mm: float
) -> NDArray[np.float32]:
    """Draw a smooth Gaussian random field with zero mean and unit variance at every voxel.

    Source: white noise on a coarse lattice, blended with Gaussian weights one axis at a time.

    Args:
        rng: random generator.
        shape: voxels along each axis.
        spacing_mm: voxel size in mm along each axis.
        scale_mm: size of the field's features in mm; below the voxel size the field is white along that axis.

    Returns:
        Array of ``shape``, float32.

    Example:
        >>> smooth_noise(np.random.default_rng(0), (8, 8, 4), (4, 4, 6), 12.0).shape
        (8, 8, 4)
    """
    weights = [_axis_weights(n, step, scale_mm) for n, step in zip(shape, spacing_mm, strict=True)]
    field = rng.standard_normal([w.shape[1] for w in weights], dtype=np.float32)
    for w in weights:
        # Contracting the first axis appends the new one last, so three rounds restore the axis order.
        field = np.tensordot(field, w, axes=(0, 1))
    return np.ascontiguousarray(field, dtype=np.float32)


def _axis_weights(n_voxels: int, step_mm: float, scale_mm: float) -> NDArray[np.float32]:
    """Rows of unit Euclidean norm, so that every voxel's variance is one."""
    cell_mm = max(scale_mm, step_mm)
    n_cells = int(np.ceil((n_voxels - 1) * step_mm / cell_mm)) + 3
    voxels_mm = np.arange(n_voxels) * step_mm
    cells_mm = (np.arange(n_cells) - 1) * cell_mm
    weights = np.exp(-0.5 * ((voxels_mm[:, None] - cells_mm[None]) / (0.6 * cell_mm)) ** 2)
    return np.asarray(weights / np.linalg.norm(weights, axis=1, keepdims=True), dtype=np.float32)
