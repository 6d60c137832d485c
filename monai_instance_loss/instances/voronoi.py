"""Nearest-instance partition: which instance each voxel is closest to, in millimetres if spacing is given."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from monai_instance_loss.instances.backends.feature_transform import nearest_labels
from monai_instance_loss.instances.labelling import Instances
from monai_instance_loss.instances.spacing import resolved_spacing

__all__ = ["nearest_instance", "nearest_instances"]


def nearest_instance(instances: Instances, spacing_mm: Sequence[float] | None = None) -> torch.Tensor:
    """The nearest instance of each voxel in the same sample and channel; instances are their own nearest.

    Source: the Voronoi cells of CC-Metrics (Jaus et al., arXiv 2410.18684) and CC-DiceCE (Bouteille et al., ISBI 2026,
    arXiv 2511.17146). Exact: the Euclidean feature transform of scipy, or of torch on a CUDA device. Where two
    instances are equally near, scipy decides, or the smaller id. Differentiable: nothing.

    Args:
        instances: the instances of a batch.
        spacing_mm: voxel size along each spatial axis in mm; None measures in voxels.

    Returns:
        int32 (B, C, *spatial), the id of an instance; 0 in blocks without instances.

    Raises:
        ValueError: ``spacing_mm`` is not one positive number a spatial axis.
        ImportError: scipy is not installed, and the instances are not on a CUDA device.

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
    if all(instances.labels.is_cuda for instances in sides):
        maps = (instances.labels for instances in sides)
        return tuple(nearest_labels(labels.flatten(0, 1), spacing).view_as(labels) for labels in maps)
    distance_transform = _distance_transform()
    nearest = tuple(torch.zeros_like(instances.labels) for instances in sides)
    sources = [instances.labels.flatten(0, 1).cpu() for instances in sides]

    def partition(side: int, block: int) -> None:
        ids, labels = sources[side][block], nearest[side]
        index = distance_transform((ids == 0).numpy(), sampling=spacing, return_distances=False, return_indices=True)
        flat = torch.from_numpy(index[0])
        if ids.numel() > torch.iinfo(flat.dtype).max:
            flat = flat.long()
        for extent, axis in zip(ids.shape[1:], index[1:], strict=True):
            flat.mul_(extent).add_(torch.from_numpy(axis))
        labels.flatten(0, 1)[block] = ids.reshape(-1).index_select(0, flat.reshape(-1)).view_as(ids).to(labels.device)

    # scipy lets go of the interpreter while it computes
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        jobs = [(side, block) for side, each in enumerate(sides) for block in torch.unique(each.block).tolist()]
        list(pool.map(partition, *zip(*jobs, strict=True)) if jobs else ())
    return nearest


def _distance_transform():  # type: ignore[no-untyped-def]  # scipy is optional and untyped
    try:
        from scipy.ndimage import distance_transform_edt
    except ImportError as error:
        raise ImportError(
            "Nearest-instance cells need scipy: pip install monai_instance_loss[bundle], or pip install scipy."
        ) from error
    return distance_transform_edt
