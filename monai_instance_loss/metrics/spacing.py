"""The size of a voxel of each sample, from an argument or from a MetaTensor, and never guessed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.data import MetaTensor

from monai_instance_loss.instances.spacing import checked_spacing

__all__ = ["sample_spacing"]


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
    batch, dims = y.shape[0], y.ndim - 2
    if spacing_mm is not None:
        rows = [checked_spacing(spacing_mm, dims)] * batch
    else:
        meta = next((tensor for tensor in (y, y_pred) if isinstance(tensor, MetaTensor)), None)
        if meta is None:
            raise ValueError(
                f"Expected `spacing_mm` to be given for `{needed_by}`, or `y` to be a MetaTensor, but got neither."
            )
        affine = meta.affine.as_subclass(torch.Tensor).double().cpu()
        if affine.shape[-1] <= dims:
            raise ValueError(
                f"Expected the affine of `y` to have {dims} spatial axes, but got shape {tuple(affine.shape)}."
            )
        steps = affine[..., :-1, :dims].norm(dim=-2)
        rows = [checked_spacing(row, dims) for row in steps.expand(batch, dims).tolist()]
    return torch.tensor(rows, dtype=torch.float64).view(batch, dims)
