"""Lesions that lie close together count as one: components of a mask that meet when it is dilated."""

from typing import NamedTuple

import numpy as np
import torch

from monai_instance_loss._checks import checked_count
from monai_instance_loss._optional import import_extra
from monai_instance_loss.instances import Instances, instances_from_map, label_instances

__all__ = ["MergedInstances", "drop_small", "merge_nearby"]

binary_dilation = import_extra("scipy.ndimage", "binary_dilation")
find_objects = import_extra("scipy.ndimage", "find_objects")
generate_binary_structure = import_extra("scipy.ndimage", "generate_binary_structure")


class MergedInstances(NamedTuple):
    """What ``merge_nearby`` returns.

    Source: as ``merge_nearby``.

    Attributes:
        instances: the voxels of the mask; those of one merged instance have one id.
        grown: the dilated instances, with the same ids.
    """

    instances: Instances
    grown: Instances


def merge_nearby(mask: torch.Tensor, steps: int, connectivity: int | None = None) -> MergedInstances:
    """Label the components of a mask as if it were dilated, so that those that lie close together are one instance.

    Source: the lesion-wise scores of BraTS 2023 (github.com/rachitsaluja/BraTS-2023-Metrics), which do so with the
    reference. A step of the dilation reaches all neighbours but those across a corner (18 in 3D). Differentiable:
    nothing.

    Args:
        mask: bool (B, C, H, W) or (B, C, H, W, D).
        steps: how often the mask is dilated; 0 merges nothing.
        connectivity: of the components, largest number of orthogonal steps between neighbouring voxels; ``None`` is
            full connectivity (8 or 26 neighbours).

    Returns:
        The merged instances, and the same ones dilated.

    Raises:
        TypeError: ``mask`` is not a tensor, or ``steps`` no integer.
        ValueError: ``mask`` is not 4D or 5D, ``steps`` is negative, or ``connectivity`` is out of range.
        OptionalImportError: scipy is not installed.

    Example:
        >>> merged = merge_nearby(torch.tensor([[[[1, 0, 0, 1, 0, 0, 0, 1]]]]) > 0, steps=1)
        >>> merged.instances.labels.tolist(), merged.grown.labels.tolist()
        ([[[[1, 0, 0, 1, 0, 0, 0, 2]]]], [[[[1, 1, 1, 1, 1, 0, 2, 2]]]])
    """
    if not checked_count("steps", steps):
        instances = label_instances(mask, connectivity)
        return MergedInstances(instances, instances)
    grown = torch.zeros_like(mask, dtype=torch.bool)
    structure = generate_binary_structure(mask.ndim - 2, 2)
    for block, source in zip(grown.flatten(0, 1), mask.flatten(0, 1), strict=True):
        voxels = source.cpu().numpy()
        # nothing grows beyond this
        for box in find_objects(voxels.astype(np.uint8)):
            around = tuple(slice(max(side.start - steps, 0), side.stop + steps) for side in box)
            block[around] = torch.from_numpy(binary_dilation(voxels[around], structure, steps))
    thick = label_instances(grown, connectivity)
    # every dilated instance holds voxels of the mask, so that no id is lost
    return MergedInstances(instances_from_map(thick.labels * mask), thick)


def drop_small(instances: Instances, max_voxels: float) -> Instances:
    """The instances without those of up to ``max_voxels`` voxels; ids are 1..N again, in the same order.

    Source: ours. Differentiable: nothing.

    Args:
        instances: the instances of a batch.
        max_voxels: the largest size that is dropped, in voxels; need not be whole.

    Returns:
        The larger ones.

    Example:
        >>> drop_small(label_instances(torch.tensor([[[[1, 0, 1, 1]]]])), 1.5).labels.tolist()
        [[[[0, 0, 1, 1]]]]
    """
    if max_voxels < 1:
        return instances
    sizes = torch.bincount(instances.labels.flatten(), minlength=instances.count + 1)
    keep = sizes > max_voxels
    keep[0] = False
    return instances_from_map(instances.labels * keep[instances.labels.long()])
