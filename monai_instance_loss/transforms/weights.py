"""Weights of voxels under which every instance counts alike, however small."""

from __future__ import annotations

from typing import ClassVar

import torch
from monai.config import NdarrayOrTensor
from monai.transforms import Transform
from monai.utils import TransformBackends

from monai_instance_loss.transforms.inputs import (
    check_mask,
    check_reading,
    checked_number,
    plain_tensor,
    read_instances,
    restored,
)
from monai_instance_loss.transforms.voxels import InstanceVoxels

__all__ = ["InstanceWeightMap"]


class InstanceWeightMap(Transform):
    """Turn a mask into voxel weights of 0 or more that give every instance of a channel the same total weight.

    Source: inverse weighting, Shirokikh et al., MICCAI 2020, arXiv 2007.10033. Multiply a loss by the map voxel by
    voxel. Every channel is weighed by itself. In an instance map, voxels below 0 are ignored: weight 0.
    Differentiable: nothing.

    Convention: with K instances that have V voxels in all, a voxel of an instance of n voxels weighs V / (K n), so that
    the mean over the foreground is 1 and foreground keeps its balance against a background of weight 1. Under
    ``background_weight=None`` the background counts as one more instance, as in the paper: of W voxels in all, a voxel
    of an instance weighs W / ((K + 1) n), one of the n background voxels alike, and the mean over all of them is 1 (an
    empty background is left out).

    Args:
        background_weight: weight of each background voxel; None makes the background one more instance.
        connectivity: as in ``LabelInstances``.
        is_instances: the input is an instance map rather than a mask.

    Raises:
        TypeError: ``background_weight`` is no number.
        ValueError: it is negative or not finite, or ``connectivity`` is given for an instance map.

    Example:
        >>> import numpy as np
        >>> mask = np.array([[[1, 1, 0, 1, 0, 0, 0, 0, 0]]])
        >>> InstanceWeightMap()(mask)
        array([[[0.75, 0.75, 1.  , 1.5 , 1.  , 1.  , 1.  , 1.  , 1.  ]]], dtype=float32)
        >>> InstanceWeightMap(background_weight=None)(mask)
        array([[[1.5, 1.5, 0.5, 3. , 0.5, 0.5, 0.5, 0.5, 0.5]]], dtype=float32)
    """

    backend: ClassVar[list[TransformBackends]] = [TransformBackends.TORCH]

    def __init__(
        self, background_weight: float | None = 1.0, connectivity: int | None = None, is_instances: bool = False
    ) -> None:
        check_reading(connectivity, is_instances)
        self.background_weight = (
            None if background_weight is None else checked_number("background_weight", background_weight)
        )
        self.connectivity = connectivity
        self.is_instances = is_instances

    def __call__(self, mask: NdarrayOrTensor) -> NdarrayOrTensor:
        """Weigh the voxels of one mask.

        Args:
            mask: (C, H, W) or (C, H, W, D), any dtype; an instance map where ``is_instances``.

        Returns:
            float32 of the same shape, type and device, with the metadata of a MetaTensor.

        Raises:
            TypeError, ValueError: as in ``LabelInstances``.
        """
        check_mask(mask)
        voxels = InstanceVoxels.of(read_instances(mask, self.connectivity, self.is_instances))
        channels = plain_tensor(mask)
        background = (channels == 0).flatten(1)
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
        return restored(weights.view(channels.shape), mask, torch.float32)
