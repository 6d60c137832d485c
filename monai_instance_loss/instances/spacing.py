"""The size of a voxel, in mm: one check and one default for everything that measures distances."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

__all__ = ["VOLUME_TOLERANCE", "batch_spacing", "checked_spacing", "resolved_spacing"]

# part of a volume; NIfTI stores voxel sizes in 32 bits, and an instance must not hang on the last of them
VOLUME_TOLERANCE = 1e-6


def checked_spacing(spacing_mm: Sequence[float] | None, spatial_dims: int | None = None) -> tuple[float, ...] | None:
    """The spacing as a tuple of positive finite numbers, or None.

    Args:
        spacing_mm: size of a voxel along each spatial axis in mm.
        spatial_dims: how many axes there are, 2 or 3; None where that is not known yet.

    Raises:
        TypeError: ``spacing_mm`` is no sequence.
        ValueError: it does not have one positive number a spatial axis.

    Example:
        >>> checked_spacing([1, 1, 3])
        (1.0, 1.0, 3.0)
    """
    if spacing_mm is None:
        return None
    if isinstance(spacing_mm, str) or not hasattr(spacing_mm, "__len__"):
        raise TypeError(f"Expected `spacing_mm` to be None or a sequence, but got {type(spacing_mm).__name__}.")
    values = tuple(map(float, spacing_mm))
    if len(values) not in (2, 3) or not all(value > 0 and math.isfinite(value) for value in values):
        raise ValueError(f"Expected `spacing_mm` to be 2 or 3 positive finite numbers, but got {spacing_mm}.")
    if spatial_dims is not None and len(values) != spatial_dims:
        raise ValueError(
            f"Expected `spacing_mm` to have one value for each of {spatial_dims} spatial axes, but got {spacing_mm}."
        )
    return values


def resolved_spacing(spacing_mm: Sequence[float] | None, spatial_dims: int) -> tuple[float, ...]:
    """The spacing of an image with that many spatial dimensions, 1 along each axis for None; as ``checked_spacing``."""
    return checked_spacing(spacing_mm, spatial_dims) or (1.0,) * spatial_dims


def batch_spacing(spacing_mm: Sequence[float] | torch.Tensor | None, shape: torch.Size) -> torch.Tensor:
    """Size of a voxel of each sample, from one for all of them or a tensor (B, spatial dims) of one each.

    Source: ours. Differentiable: nothing.

    Args:
        spacing_mm: size along each spatial axis in mm.
        shape: (B, C, *spatial).

    Returns:
        float64 (B, spatial dims) on the CPU.

    Raises:
        TypeError: ``spacing_mm`` is no sequence.
        ValueError: it does not have one positive number a spatial axis.

    Example:
        >>> batch_spacing((1, 3), torch.Size([2, 1, 4, 4])).tolist()
        [[1.0, 3.0], [1.0, 3.0]]
    """
    rows = spacing_mm.tolist() if isinstance(spacing_mm, torch.Tensor) else [spacing_mm] * shape[0]
    return torch.tensor([checked_spacing(row, len(shape) - 2) for row in rows], dtype=torch.float64)
