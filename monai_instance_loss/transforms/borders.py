"""The narrow background between instances: the border term of U-Net's weight map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from monai_instance_loss._optional import import_extra
from monai_instance_loss.transforms.voxels import InstanceVoxels

__all__ = ["border_weights"]

distance_transform_edt = import_extra("scipy.ndimage", "distance_transform_edt")

# where the term ends, in sigmas: it is below 2e-8 of its height there, less than float32 adds to 1
_REACH = 6.0


def border_weights(voxels: InstanceVoxels, w0: float, sigma_mm: float, spacing_mm: Sequence[float]) -> torch.Tensor:
    """Weights from 0 to ``w0``, high where two instances of one channel are near: w0 exp(-(d1 + d2)^2 / (2 sigma^2)).

    Source: U-Net, Ronneberger et al., MICCAI 2015, arXiv 1505.04597, in mm. Differentiable: nothing.

    Convention: d1 and d2 are the distances in mm from the centre of a voxel to those of the nearest voxels of the
    nearest and the second nearest instance, 0 within an instance. With fewer than two instances in a channel the term
    is 0, and so it is where d1 + d2 is above 6 sigma (less than 2e-8 w0).

    Args:
        voxels: the instances of a batch.
        w0: largest weight, 0 or more.
        sigma_mm: standard deviation in mm, above 0.
        spacing_mm: voxel size along each spatial axis in mm.

    Returns:
        float64 (B, C, *spatial), on the device of the instances.

    Raises:
        OptionalImportError: scipy is not installed, and a channel has two instances.

    Example:
        >>> from monai_instance_loss.instances import label_instances
        >>> voxels = InstanceVoxels.of(label_instances(torch.tensor([[[[1, 0, 0, 1, 0]]]])))
        >>> border_weights(voxels, 10.0, 1.0, (1.0, 1.0)).round(decimals=2)
        tensor([[[[0.1100, 0.1100, 0.1100, 0.1100, 0.0000]]]], dtype=torch.float64)
    """
    instances = voxels.instances
    labels = instances.labels.flatten(0, 1).cpu().numpy()
    nearest, second = np.full(labels.shape, np.inf), np.full(labels.shape, np.inf)
    reach = [int(_REACH * sigma_mm / step) + 1 for step in spacing_mm]
    lows, highs = (corner.cpu().numpy() for corner in voxels.boxes)
    blocks = instances.block.cpu().numpy()
    crowded = np.bincount(blocks, minlength=len(labels)) > 1
    for index in np.flatnonzero(crowded[blocks]):
        extent = zip(lows[index], highs[index], reach, strict=True)
        window = (blocks[index], *(slice(max(low - r, 0), high + r + 1) for low, high, r in extent))
        distance = distance_transform_edt(labels[window] != index + 1, sampling=spacing_mm)
        second[window] = np.minimum(second[window], np.maximum(nearest[window], distance))
        nearest[window] = np.minimum(nearest[window], distance)
    term = w0 * np.exp(-((nearest + second) ** 2) / (2 * sigma_mm**2))
    return torch.from_numpy(term).view(instances.shape).to(instances.block.device)
