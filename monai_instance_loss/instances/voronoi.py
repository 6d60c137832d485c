"""Nearest-instance partition: which instance each voxel is closest to, in millimetres if spacing is given."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from monai_instance_loss.instances.backends.feature_transform import nearest_labels
from monai_instance_loss.instances.labelling import Instances
from monai_instance_loss.instances.spacing import resolved_spacing

__all__ = ["nearest_instance", "nearest_instances"]


def nearest_instance(instances: Instances, spacing_mm: Sequence[float] | None = None) -> torch.Tensor:
    """The nearest instance of each voxel in the same sample and channel; instances are their own nearest.

    Source: the Voronoi cells of CC-Metrics (Jaus et al., arXiv 2410.18684) and CC-DiceCE (Bouteille et al., ISBI 2026,
    arXiv 2511.17146). Exact, and the same map on every device.

    Convention: a tie goes to the smallest id, as in CC-Metrics. Ids follow the raster order of ``label_instances``, so
    that a flip of the image moves ties. Instances are equally near if their squared distances are equal, added up in
    whole numbers from the squared voxel sizes, which are rounded to ten digits of the largest one (to fewer where the
    sums would not fit into 64 bits): 10 voxels of 0.9 mm are as far as 3 voxels of 3.0 mm. Differentiable: nothing.

    Args:
        instances: the instances of a batch.
        spacing_mm: voxel size along each spatial axis in mm; None measures in voxels.

    Returns:
        int32 (B, C, *spatial), the id of an instance; 0 in blocks without instances.

    Raises:
        ValueError: ``spacing_mm`` is not one positive number a spatial axis.

    Example:
        >>> import torch
        >>> from monai_instance_loss import label_instances
        >>> nearest_instance(label_instances(torch.tensor([[[[1, 0, 0, 0, 1]]]])))[0, 0, 0, [0, 1, 3, 4]].tolist()
        [1, 1, 2, 2]
    """
    (nearest,) = nearest_instances([instances], spacing_mm)
    return nearest


def nearest_instances(
    sides: Sequence[Instances], spacing_mm: Sequence[float] | None = None
) -> tuple[torch.Tensor, ...]:
    """``nearest_instance`` of several labellings of one batch, such as true and predicted ones, side by side."""
    spacing = resolved_spacing(spacing_mm, len(sides[0].shape) - 2)
    maps = (instances.labels for instances in sides)
    return tuple(nearest_labels(labels.flatten(0, 1), spacing).view_as(labels) for labels in maps)
