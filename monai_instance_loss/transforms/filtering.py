"""Instances that are too small, too large, cut by the border or not among the largest: taken out of a mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from monai.config import NdarrayOrTensor
from monai.transforms import Transform
from monai.utils import TransformBackends

from monai_instance_loss._checks import check_channel_first, checked_count, checked_number
from monai_instance_loss.instances.spacing import VOLUME_TOLERANCE
from monai_instance_loss.transforms.inputs import (
    affine_of,
    check_reading,
    plain_tensor,
    restored,
    voxel_size,
)
from monai_instance_loss.transforms.reading import instances_of
from monai_instance_loss.transforms.voxels import InstanceVoxels

__all__ = ["FilterInstances"]


class FilterInstances(Transform):
    """Remove instances by size, by contact with the border or by rank; what stays keeps its value.

    Source: ours, with the connectivity and the units that MONAI's ``RemoveSmallObjects`` and
    ``KeepLargestConnectedComponent`` do not share. Every channel is filtered by itself, so take the background channel
    off a one-hot mask first. In an instance map, values below 0 (ignored voxels) stay as they are. An instance stays if
    it passes every filter that is set; ``keep_largest`` counts those that pass the others. Differentiable: nothing.

    Args:
        min_voxels: fewest voxels of an instance that stays.
        max_voxels: most voxels of an instance that stays.
        min_volume_mm3: smallest volume in mm3 (area in mm2 of a 2D image) that stays; a millionth less still does.
        max_volume_mm3: largest such volume that stays; a millionth more still does.
        remove_border: remove instances with a voxel in the first or last layer along any spatial axis; along an axis of
            one voxel that is all of them.
        keep_largest: how many instances stay in each channel, the largest; of equally large ones the lower id.
        spacing_mm: voxel size along each spatial axis in mm, for the volumes; None reads a MetaTensor's affine.
        connectivity: as in ``LabelInstances``.
        is_instances: the input is an instance map rather than a mask.

    Raises:
        TypeError: an option is of another type.
        ValueError: it is out of range, a minimum is above its maximum, or an option has nothing to act on
            (``spacing_mm`` without a volume, ``connectivity`` with an instance map).

    Example:
        >>> import numpy as np
        >>> FilterInstances(min_voxels=2)(np.array([[[1, 1, 0, 1, 0, 1]]]))
        array([[[1, 1, 0, 0, 0, 0]]])
    """

    backend: ClassVar[list[TransformBackends]] = [TransformBackends.TORCH]

    def __init__(
        self,
        min_voxels: int | None = None,
        max_voxels: int | None = None,
        min_volume_mm3: float | None = None,
        max_volume_mm3: float | None = None,
        remove_border: bool = False,
        keep_largest: int | None = None,
        spacing_mm: Sequence[float] | None = None,
        connectivity: int | None = None,
        is_instances: bool = False,
    ) -> None:
        check_reading(connectivity, is_instances)
        self.min_voxels, self.max_voxels = (
            None if value is None else checked_count(name, value, 0)
            for name, value in (("min_voxels", min_voxels), ("max_voxels", max_voxels))
        )
        self.min_volume_mm3, self.max_volume_mm3 = (
            None if value is None else checked_number(name, value)
            for name, value in (("min_volume_mm3", min_volume_mm3), ("max_volume_mm3", max_volume_mm3))
        )
        _check_order("voxels", min_voxels, max_voxels)
        _check_order("volume_mm3", min_volume_mm3, max_volume_mm3)
        self.remove_border = remove_border
        self.keep_largest = None if keep_largest is None else checked_count("keep_largest", keep_largest, 1)
        if spacing_mm is not None and not self._needs_volume:
            raise ValueError(
                f"Expected `spacing_mm` to be None without `min_volume_mm3` or `max_volume_mm3`, but got {spacing_mm}."
            )
        self.spacing_mm = spacing_mm
        self.connectivity = connectivity
        self.is_instances = is_instances

    def __call__(self, mask: NdarrayOrTensor) -> NdarrayOrTensor:
        """Filter one mask.

        Args:
            mask: (C, H, W) or (C, H, W, D), any dtype; everything that is not zero is foreground. An instance map where
                ``is_instances``.

        Returns:
            The same with 0 for the removed instances: a new array of the same type, dtype and device, with the metadata
            of a MetaTensor.

        Raises:
            TypeError: ``mask`` is neither a tensor nor an array, or complex.
            ValueError: it is not 3D or 4D or not finite, a map holds fractions, ``connectivity`` is out of range, or a
                volume is asked for and the voxel size is unknown.
        """
        check_channel_first("mask", mask)
        voxel_mm3 = 1.0
        if self._needs_volume:
            voxel_mm3 = float(voxel_size(affine_of(mask, self.spacing_mm), mask.ndim - 1))
        voxels = InstanceVoxels.of(instances_of(plain_tensor(mask), self.connectivity, self.is_instances))
        stays = self._passes(voxels, voxel_mm3)
        if self.keep_largest is not None:
            stays &= _among_largest(voxels, stays, self.keep_largest)
        # a copy in raster order, whatever the strides of the input
        values = plain_tensor(mask).clone(memory_format=torch.contiguous_format)
        values.view(-1)[voxels.position[~stays[voxels.owner]]] = 0
        return restored(values, mask, mask.dtype)

    @property
    def _needs_volume(self) -> bool:
        return self.min_volume_mm3 is not None or self.max_volume_mm3 is not None

    def _passes(self, voxels: InstanceVoxels, voxel_mm3: float) -> torch.Tensor:
        """Bool (N,): the instances that pass every filter but the rank."""
        sizes, volumes = voxels.sizes, voxels.sizes * voxel_mm3
        stays = torch.ones_like(sizes, dtype=torch.bool)
        if self.min_voxels is not None:
            stays &= sizes >= self.min_voxels
        if self.max_voxels is not None:
            stays &= sizes <= self.max_voxels
        if self.min_volume_mm3 is not None:
            stays &= volumes >= self.min_volume_mm3 * (1 - VOLUME_TOLERANCE)
        if self.max_volume_mm3 is not None:
            stays &= volumes <= self.max_volume_mm3 * (1 + VOLUME_TOLERANCE)
        if self.remove_border:
            low, high = voxels.boxes
            last = torch.tensor(voxels.spatial_shape, device=high.device) - 1
            stays &= ((low > 0) & (high < last)).all(1)
        return stays


def _among_largest(voxels: InstanceVoxels, candidates: torch.Tensor, k: int) -> torch.Tensor:
    """Bool (N,): the k largest candidates of each channel."""
    chosen = candidates.nonzero().squeeze(1)
    chosen = chosen[torch.argsort(voxels.sizes[chosen], descending=True, stable=True)]
    chosen = chosen[torch.argsort(voxels.instances.block[chosen], stable=True)]
    block = voxels.instances.block[chosen]
    rank = torch.arange(block.numel(), device=block.device) - torch.searchsorted(block, block)
    largest = torch.zeros_like(candidates)
    largest[chosen[rank < k]] = True
    return largest


def _check_order(name: str, low: float | None, high: float | None) -> None:
    if low is not None and high is not None and low > high:
        raise ValueError(f"Expected `min_{name}` to be at most `max_{name}`, but got {low!r} and {high!r}.")
