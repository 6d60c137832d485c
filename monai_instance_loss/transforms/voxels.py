"""The voxels of instances as a list, one pass over the label map, and what follows from it per instance."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from monai_instance_loss.instances import Instances, coordinate_sums, merge_boxes
from monai_instance_loss.instances.voxels import positions, voxel_coordinates

__all__ = ["InstanceVoxels"]


@dataclass(frozen=True, eq=False)
class InstanceVoxels:
    """Every voxel that belongs to an instance, in raster order.

    Attributes:
        instances: the instances of the batch, N in all.
        position: int64 (V,), flat position in (B, C, *spatial).
        owner: int64 (V,), 0..N-1: the voxel's instance, whose id is one more.

    Example:
        >>> from monai_instance_loss.instances import label_instances
        >>> voxels = InstanceVoxels.of(label_instances(torch.tensor([[[[0, 1, 1], [0, 0, 0], [1, 0, 0]]]])))
        >>> voxels.sizes.tolist(), voxels.centroids.tolist()
        ([2, 1], [[0.0, 1.5], [2.0, 0.0]])
    """

    instances: Instances
    position: torch.Tensor
    owner: torch.Tensor

    @classmethod
    def of(cls, instances: Instances) -> InstanceVoxels:
        """List the voxels of instances."""
        labels = instances.labels.reshape(-1)
        position = positions(labels > 0)
        return cls(instances, position, labels[position].long() - 1)

    @property
    def count(self) -> int:
        """The number of instances N."""
        return self.instances.count

    @property
    def spatial_shape(self) -> torch.Size:
        """The spatial part of the shape."""
        return self.instances.shape[2:]

    @cached_property
    def coordinates(self) -> torch.Tensor:
        """int64 (V, spatial dims): index of each voxel along each axis."""
        return torch.stack(voxel_coordinates(self.position, self.spatial_shape), 1)

    @cached_property
    def sizes(self) -> torch.Tensor:
        """int64 (N,): how many voxels each instance has."""
        return torch.bincount(self.owner, minlength=self.count)

    @cached_property
    def coordinate_sums(self) -> torch.Tensor:
        """int64 (N, spatial dims): sum of the indices of each instance's voxels."""
        return coordinate_sums(self.coordinates, self.owner, self.count)

    @property
    def centroids(self) -> torch.Tensor:
        """float64 (N, spatial dims): centre of mass of each instance, in voxels."""
        return self.coordinate_sums.double() / self.sizes[:, None]

    @cached_property
    def boxes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Two int64 (N, spatial dims): lowest and highest index of each instance, both inclusive."""
        return merge_boxes(self.coordinates, self.coordinates, self.owner, self.count)
