"""The size of a voxel of each sample, from an argument or from a MetaTensor, and never guessed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.data import MetaTensor

from monai_instance_loss.instances.spacing import checked_spacing

__all__ = ["image_spacing", "sample_spacing"]


def sample_spacing(spacing_mm: Sequence[float] | None, y_pred: Any, y: Any, needed_by: str) -> torch.Tensor:
    """Size of a voxel of each sample: ``spacing_mm`` where it is given, else from the affine of a MetaTensor.

    Source: ours. Differentiable: nothing.

    Args:
        spacing_mm: size along each spatial axis in mm, for all samples; None reads it off ``y``, or off ``y_pred``
            where ``y`` is no MetaTensor.
        y_pred: (B, C, *spatial) prediction.
        y: (B, C, *spatial) ground truth.
        needed_by: the argument that asks for millimetres, for the error.

    Returns:
        float64 (B, spatial dims) on the CPU.

    Raises:
        TypeError: ``spacing_mm`` is no sequence.
        ValueError: there is neither, or it does not have one positive number a spatial axis.

    Example:
        >>> y = MetaTensor(torch.zeros(2, 1, 4, 4), affine=torch.diag(torch.tensor([2.0, 3.0, 1.0])))
        >>> sample_spacing(None, y, y, "volume_edges_mm3").tolist()
        [[2.0, 3.0], [2.0, 3.0]]
    """
    return _rows(spacing_mm, (y, y_pred), y.shape[0], y.ndim - 2, needed_by, "y")


def image_spacing(spacing_mm: Sequence[float] | None, images: Sequence[Any], needed_by: str, name: str) -> torch.Tensor:
    """``sample_spacing`` of channel-first images (C, *spatial) on one grid, float64 (1, spatial dims).

    Args:
        spacing_mm: as in ``sample_spacing``.
        images: the first MetaTensor of them is read where ``spacing_mm`` is None.
        needed_by: the argument that asks for millimetres, for the error.
        name: what errors call the images.

    Raises:
        TypeError, ValueError: as in ``sample_spacing``.

    Example:
        >>> image_spacing((1, 1, 3), [torch.zeros(1, 4, 4, 4)], "min_volume_mm3", "image").tolist()
        [[1.0, 1.0, 3.0]]
    """
    return _rows(spacing_mm, images, 1, images[0].ndim - 1, needed_by, name)


def _rows(
    spacing_mm: Sequence[float] | None, images: Sequence[Any], batch: int, dims: int, needed_by: str, name: str
) -> torch.Tensor:
    if spacing_mm is not None:
        rows = [checked_spacing(spacing_mm, dims)] * batch
    else:
        meta = next((tensor for tensor in images if isinstance(tensor, MetaTensor)), None)
        if meta is None:
            raise ValueError(
                f"Expected `spacing_mm` to be given for `{needed_by}`, or `{name}` to be a MetaTensor, but got neither."
            )
        affine = meta.affine.as_subclass(torch.Tensor).double().cpu()
        if affine.shape[-1] <= dims:
            raise ValueError(
                f"Expected the affine of `{name}` to have {dims} spatial axes, but got shape {tuple(affine.shape)}."
            )
        steps = affine[..., :-1, :dims].norm(dim=-2)
        rows = [checked_spacing(row, dims) for row in steps.expand(batch, dims).tolist()]
    return torch.tensor(rows, dtype=torch.float64).view(batch, dims)
