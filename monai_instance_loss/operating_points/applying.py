"""From probabilities to the mask of an operating point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from monai.config import NdarrayOrTensor
from monai.utils import convert_to_dst_type, convert_to_tensor

from monai_instance_loss._checks import check_channel_first
from monai_instance_loss.instances import Instances, label_instances
from monai_instance_loss.instances.spacing import VOLUME_TOLERANCE
from monai_instance_loss.instances.voxels import positions
from monai_instance_loss.metrics.inputs import checked_probability
from monai_instance_loss.metrics.spacing import image_spacing
from monai_instance_loss.operating_points.point import OperatingPoint

__all__ = ["Grown", "apply_operating_point"]


def apply_operating_point(
    probability: NdarrayOrTensor, point: OperatingPoint, spacing_mm: Sequence[float] | None = None
) -> NdarrayOrTensor:
    """The binary mask, 0 and 1, that an operating point makes of probabilities.

    Source: ours. Instances are the connected components of ``probability >= point.threshold``, channel by channel;
    those that are too small, or nowhere reach ``point.high_threshold``, are left out whole. Differentiable: nothing.

    Args:
        probability: (C, H, W) or (C, H, W, D), any dtype, in [0, 1].
        point: the operating point.
        spacing_mm: size of a voxel along each spatial axis in mm, which only ``point.min_volume_mm3`` needs; None reads
            the affine of a MetaTensor.

    Returns:
        uint8 mask of the same shape: numpy for numpy, else a tensor on the same device, with the metadata of a
        MetaTensor.

    Raises:
        TypeError: ``probability`` is neither a tensor nor an array, or ``spacing_mm`` no sequence.
        ValueError: the shape is another, a value is outside [0, 1] or NaN, the connectivity is too large for the number
            of dimensions, or no voxel size is known where one is needed.

    Example:
        >>> import numpy as np
        >>> p = np.array([[[0.4, 0.9, 0.0, 0.4, 0.4, 0.0, 0.8]]])
        >>> apply_operating_point(p, OperatingPoint(0.3))
        array([[[1, 1, 0, 1, 1, 0, 1]]], dtype=uint8)
        >>> apply_operating_point(p, OperatingPoint(0.3, min_volume_mm3=2, high_threshold=0.7), spacing_mm=(1, 1))
        array([[[1, 1, 0, 0, 0, 0, 0]]], dtype=uint8)
    """
    check_channel_first("probability", probability)
    voxel_mm3 = 1.0
    if point.min_volume_mm3:
        voxel_mm3 = float(image_spacing(spacing_mm, [probability], "min_volume_mm3", "probability").prod())
    plain = checked_probability("probability", convert_to_tensor(probability, track_meta=False))
    grown = Grown.of(plain[None], point)
    kept = torch.cat([torch.zeros(1, dtype=torch.bool, device=plain.device), grown.kept(point, voxel_mm3)])
    mask: NdarrayOrTensor = convert_to_dst_type(kept[grown.instances.labels[0]], probability, dtype=torch.uint8)[0]
    return mask


@dataclass(frozen=True, eq=False)
class Grown:
    """All instances at one threshold, whatever their size, and what decides which of them are kept.

    Attributes:
        instances: the instances of the batch, N in all.
        position: int64 (V,), flat position of each of their voxels in (B, C, *spatial).
        owner: int64 (V,), 0..N-1: the voxel's instance, whose id is one more.
        values: (V,), the probability of each of these voxels.
    """

    instances: Instances
    position: torch.Tensor
    owner: torch.Tensor
    values: torch.Tensor

    @classmethod
    def of(cls, probability: torch.Tensor, point: OperatingPoint) -> Grown:
        """The instances of plain probabilities (B, C, *spatial) at the threshold of a point."""
        instances = label_instances(probability >= point.threshold, point.connectivity)
        labels = instances.labels.reshape(-1)
        position = positions(labels > 0)
        return cls(instances, position, labels[position].long() - 1, probability.reshape(-1)[position])

    @cached_property
    def voxels(self) -> torch.Tensor:
        """int64 (N,): how many voxels each instance has."""
        return torch.bincount(self.owner, minlength=self.instances.count)

    @cached_property
    def peak(self) -> torch.Tensor:
        """(N,): the largest probability in each instance."""
        lowest = self.values.new_zeros(self.instances.count)
        return lowest.scatter_reduce_(0, self.owner, self.values, "amax")

    def kept(self, point: OperatingPoint, voxel_mm3: float) -> torch.Tensor:
        """Bool (N,): the instances that are large enough and reach the high threshold."""
        kept = self.voxels * voxel_mm3 >= point.min_volume_mm3 * (1 - VOLUME_TOLERANCE)
        return kept if point.high_threshold is None else kept & (self.peak >= point.high_threshold)
