"""Instance maps: each mask labelled once, ahead of training."""

from __future__ import annotations

from typing import ClassVar

import torch
from monai.config import NdarrayOrTensor
from monai.transforms import Transform
from monai.utils import TransformBackends

from monai_instance_loss.instances import label_instances
from monai_instance_loss.transforms.inputs import restored
from monai_instance_loss.transforms.reading import read_mask

__all__ = ["LabelInstances"]

_IGNORED = -1


class LabelInstances(Transform):
    """Turn a mask into an instance map: 0 is background, instances are 1..N, ignored voxels are -1.

    Source: ours, for a loss that reads its target as instances (``InstanceLoss(target_is_instances=True,
    ignore_index=-1)``) and so labels nothing during training. Ids follow the raster order of each instance's first
    voxel, channel by channel, and are unique over the channels. Crops and flips may be applied to the map as to the
    mask, with nearest-neighbour interpolation; an instance that a crop cuts in two stays one. Differentiable:
    nothing.

    Args:
        connectivity: largest number of orthogonal steps between neighbouring voxels of an instance, 1..number of
            spatial dimensions; ``None`` is full connectivity (8 or 26 neighbours).
        ignore_label: voxels of the mask that equal it belong to no instance and are -1 in the map; in any channel it
            takes the voxel out of all of them.

    Example:
        >>> import numpy as np
        >>> LabelInstances(ignore_label=2)(np.array([[[1, 1, 0, 1, 0, 2]]]))
        array([[[ 1,  1,  0,  2,  0, -1]]], dtype=int32)
    """

    backend: ClassVar[list[TransformBackends]] = [TransformBackends.TORCH]

    def __init__(self, connectivity: int | None = None, ignore_label: int | None = None) -> None:
        self.connectivity = connectivity
        self.ignore_label = ignore_label

    def __call__(self, mask: NdarrayOrTensor) -> NdarrayOrTensor:
        """Label one mask.

        Args:
            mask: (C, H, W) or (C, H, W, D), any dtype, values 0, 1 and ``ignore_label``. MONAI's ``LabelToMask`` makes
                such a mask of other labels.

        Returns:
            int32 map of the same shape: numpy for numpy, a tensor on the same device for a tensor, with the metadata
            of a MetaTensor.

        Raises:
            TypeError: ``mask`` is neither a tensor nor an array, or complex.
            ValueError: it is not 3D or 4D or not finite, or holds other labels, which the error lists;
                ``connectivity`` is out of range; ``ignore_label`` is 0 or 1 and the channels are more than one.
        """
        values, ignored = read_mask(mask, ignore_label=self.ignore_label)
        labels = label_instances(values[None], self.connectivity).labels[0]
        if ignored is not None:
            labels = labels.masked_fill(ignored, _IGNORED)
        return restored(labels, mask, torch.int32)
