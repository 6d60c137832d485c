"""What the transforms accept: arrays, options and voxel sizes; and results in the form of the input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from monai.config import NdarrayOrTensor
from monai.data import MetaTensor, get_track_meta
from monai.utils import convert_to_dst_type, convert_to_tensor

from monai_instance_loss.instances.spacing import checked_spacing

__all__ = [
    "affine_of",
    "check_reading",
    "plain_tensor",
    "restored",
    "voxel_size",
]


def check_reading(connectivity: int | None, is_instances: bool) -> None:
    """Refuse a connectivity for an instance map, which is not labelled."""
    if is_instances and connectivity is not None:
        raise ValueError(
            f"Expected `connectivity` to be None for an instance map, which is not labelled, but got {connectivity!r}."
        )


def plain_tensor(mask: NdarrayOrTensor) -> torch.Tensor:
    """The values without metadata; they may share memory with the input."""
    plain: torch.Tensor = convert_to_tensor(mask, track_meta=False)
    return plain


def affine_of(mask: NdarrayOrTensor, spacing_mm: Sequence[float] | None) -> torch.Tensor:
    """Affine from voxels to mm, float64 (n, n): of ``spacing_mm`` where it is given, else that of a MetaTensor.

    Raises:
        TypeError, ValueError: as in ``checked_spacing``; the input brings no affine, or one that gives no voxel size.

    Example:
        >>> import numpy as np
        >>> affine_of(np.zeros((1, 4, 4)), (2, 3)).diagonal().tolist()
        [2.0, 3.0, 1.0]
    """
    dims = mask.ndim - 1
    given = checked_spacing(spacing_mm, dims)
    if given is not None:
        return torch.diag(torch.tensor([*given, 1.0], dtype=torch.float64))
    if not isinstance(mask, MetaTensor):
        raise ValueError(
            f"Expected `spacing_mm` or a MetaTensor, which brings its own, but got None and a {type(mask).__name__}."
        )
    affine: torch.Tensor = mask.affine.detach().as_subclass(torch.Tensor).double().cpu()
    if affine.shape[0] < dims + 1 or not 0 < float(voxel_size(affine, dims)) < math.inf:
        raise ValueError(f"Expected the affine of `mask` to give voxels a size, but got {affine.tolist()}.")
    return affine


def voxel_size(affine: torch.Tensor, spatial_dims: int) -> torch.Tensor:
    """Volume of a voxel in mm3, in 2D its area in mm2, under affines (..., n, n), sheared ones too."""
    steps = affine[..., :-1, :spatial_dims]
    return torch.linalg.det(steps.mT @ steps).sqrt()


def restored(values: torch.Tensor, mask: NdarrayOrTensor, dtype: Any) -> NdarrayOrTensor:
    """Values in the form of the input: numpy for numpy, else a tensor, with the metadata where MONAI tracks them."""
    like = convert_to_tensor(mask, track_meta=get_track_meta()) if isinstance(mask, torch.Tensor) else mask
    result: NdarrayOrTensor = convert_to_dst_type(values, dst=like, dtype=dtype)[0]
    return result
