"""Weights of voxels under which every instance counts alike, however small, and is kept apart from the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from monai.config import NdarrayOrTensor
from monai.transforms import Transform
from monai.utils import TransformBackends

from monai_instance_loss._checks import check_channel_first, checked_number
from monai_instance_loss.transforms.borders import border_weights
from monai_instance_loss.transforms.inputs import affine_of, check_reading, restored
from monai_instance_loss.transforms.reading import instances_of, read_values
from monai_instance_loss.transforms.voxels import InstanceVoxels

__all__ = ["InstanceWeightMap"]

# those of the paper, with a pixel for a mm
_W0 = 10.0
_SIGMA_MM = 5.0


class InstanceWeightMap(Transform):
    """Turn a mask into voxel weights of 0 or more that give every instance of a channel the same total weight.

    Source: inverse weighting, Shirokikh et al., MICCAI 2020, arXiv 2007.10033; the border term of U-Net, Ronneberger et
    al., MICCAI 2015, arXiv 1505.04597. Multiply a loss by the map voxel by voxel. Every channel is weighed by itself.
    In an instance map, voxels below 0 are ignored: weight 0. Differentiable: nothing.

    Convention: with K instances that have V voxels in all, a voxel of an instance of n voxels weighs V / (K n), so that
    the mean over the foreground is 1 and foreground keeps its balance against a background of weight 1. Under
    ``background_weight=None`` the background counts as one more instance, as in the paper: of W voxels in all, a voxel
    of an instance weighs W / ((K + 1) n), one of the n background voxels alike, and the mean over all of them is 1 (an
    empty background is left out).

    ``mode="border"`` adds w0 exp(-(d1 + d2)^2 / (2 sigma^2)) to that, where d1 and d2 are the distances in mm from a
    voxel to the nearest and to the second nearest instance, 0 within one: the narrow background between two instances
    weighs most. With fewer than two instances nothing is added, nor where d1 + d2 is above 6 sigma (below 2e-8 w0).

    Args:
        background_weight: weight of each background voxel; None makes the background one more instance.
        connectivity: as in ``LabelInstances``.
        is_instances: the input is an instance map rather than a mask.
        mode: ``"inverse"``, or ``"border"`` with the border term added.
        w0: largest border term, 0 or more; None is 10. For ``"border"`` only, as what follows.
        sigma_mm: standard deviation of the border term in mm, above 0; None is 5.
        spacing_mm: voxel size along each spatial axis in mm; None reads a MetaTensor's affine.

    Raises:
        TypeError: a number is none.
        ValueError: it is out of range, ``mode`` is unknown, ``connectivity`` is given for an instance map, or an option
            of ``"border"`` for ``"inverse"``.

    Example:
        >>> import numpy as np
        >>> mask = np.array([[[1, 1, 0, 1, 0, 0, 0, 0, 0]]])
        >>> InstanceWeightMap()(mask)
        array([[[0.75, 0.75, 1.  , 1.5 , 1.  , 1.  , 1.  , 1.  , 1.  ]]], dtype=float32)
        >>> InstanceWeightMap(background_weight=None)(mask)
        array([[[1.5, 1.5, 0.5, 3. , 0.5, 0.5, 0.5, 0.5, 0.5]]], dtype=float32)
        >>> InstanceWeightMap(mode="border", sigma_mm=2.0, spacing_mm=(1, 1))(mask).round(2)
        array([[[4.  , 6.82, 7.07, 7.57, 2.35, 1.11, 1.  , 1.  , 1.  ]]],
              dtype=float32)
    """

    backend: ClassVar[list[TransformBackends]] = [TransformBackends.TORCH]

    def __init__(
        self,
        background_weight: float | None = 1.0,
        connectivity: int | None = None,
        is_instances: bool = False,
        mode: Literal["inverse", "border"] = "inverse",
        w0: float | None = None,
        sigma_mm: float | None = None,
        spacing_mm: Sequence[float] | None = None,
    ) -> None:
        check_reading(connectivity, is_instances)
        if mode not in ("inverse", "border"):
            raise ValueError(f"Expected `mode` to be 'inverse' or 'border', but got {mode!r}.")
        for name, value in (("w0", w0), ("sigma_mm", sigma_mm), ("spacing_mm", spacing_mm)):
            if mode == "inverse" and value is not None:
                raise ValueError(f"Expected `{name}` to be None for mode 'inverse', but got {value!r}.")
        self.background_weight = (
            None if background_weight is None else checked_number("background_weight", background_weight)
        )
        self.connectivity = connectivity
        self.is_instances = is_instances
        self.mode = mode
        self.w0 = _W0 if w0 is None else checked_number("w0", w0)
        self.sigma_mm = _SIGMA_MM if sigma_mm is None else checked_number("sigma_mm", sigma_mm, above=True)
        self.spacing_mm = spacing_mm

    def __call__(self, mask: NdarrayOrTensor) -> NdarrayOrTensor:
        """Weigh the voxels of one mask.

        Args:
            mask: (C, H, W) or (C, H, W, D), any dtype, values 0 and 1; an instance map where ``is_instances``.

        Returns:
            float32 of the same shape, type and device, with the metadata of a MetaTensor.

        Raises:
            TypeError, ValueError: as in ``LabelInstances``; ``mode`` is ``"border"`` and the voxel size is unknown.
            OptionalImportError: ``mode`` is ``"border"`` and scipy is not installed.
        """
        check_channel_first("mask", mask)
        dims = mask.ndim - 1
        spacing = affine_of(mask, self.spacing_mm)[:-1, :dims].norm(dim=0).tolist() if self.mode == "border" else None
        values = read_values(mask, self.is_instances)
        voxels = InstanceVoxels.of(instances_of(values, self.connectivity, self.is_instances))
        weights = self._inverse(voxels, values == 0)
        if spacing is not None:
            weights += border_weights(voxels, self.w0, self.sigma_mm, spacing)[0] * (values >= 0)
        return restored(weights, mask, torch.float32)

    def _inverse(self, voxels: InstanceVoxels, background: torch.Tensor) -> torch.Tensor:
        """float64 (C, *spatial): the weights without a border term."""
        shape, background = background.shape, background.flatten(1)
        channel = voxels.instances.channel
        instances = torch.bincount(channel, minlength=len(background))
        foreground = torch.bincount(channel[voxels.owner], minlength=len(background))
        empty = background.sum(1)
        if self.background_weight is None:
            share = (foreground + empty).double() / (instances + (empty > 0)).clamp(min=1)
            outside = share / empty.clamp(min=1)
        else:
            share = foreground.double() / instances.clamp(min=1)
            outside = torch.full_like(share, self.background_weight)
        weights = outside[:, None] * background
        weights.view(-1)[voxels.position] = (share[channel] / voxels.sizes)[voxels.owner]
        return weights.view(shape)
