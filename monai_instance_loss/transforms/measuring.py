"""Measurements of instances: a table with size, place and intensity of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from monai.config import NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import Transform
from monai.utils import TransformBackends, convert_to_tensor

from monai_instance_loss.instances import Instances, segment_sum
from monai_instance_loss.transforms.inputs import check_reading, plain_tensor, voxel_size
from monai_instance_loss.transforms.reading import read_instances
from monai_instance_loss.transforms.voxels import InstanceVoxels

__all__ = ["MeasureInstances", "measure_instances"]


def measure_instances(
    instances: Instances,
    affine: NdarrayOrTensor | None = None,
    images: NdarrayOrTensor | Sequence[NdarrayOrTensor] | None = None,
) -> list[dict[str, float | int]]:
    """Measure every instance: how large it is (1 voxel or more), where it is and how bright.

    Source: ours. The rows go into ``pandas.DataFrame`` or ``csv.DictWriter`` as they are. Differentiable: nothing.

    Args:
        instances: what ``label_instances`` or ``instances_from_map`` returns, of a (B, C, *spatial) batch.
        affine: (n, n) for the whole batch or (B, n, n), from voxel indices to the world in mm, RAS for MONAI and
            nibabel; n is 4 for volumes, and 3 or 4 for 2D images.
        images: (B, K, *spatial), or a sequence of B images (K, *spatial), any real dtype, finite within instances.

    Returns:
        One row an instance, in order of the ids, of Python numbers:

        - ``id`` (1..N over the batch), ``sample``, ``channel``, ``voxels``;
        - ``centroid_voxel_0``, ...: centre of mass, as a voxel index along each axis;
        - ``box_start_0``, ... and ``box_stop_0``, ...: bounding box in voxels, stops exclusive;
        - with an ``affine``: ``volume_mm3`` (``area_mm2`` of a 2D image), and ``centroid_mm_x``, ``centroid_mm_y``,
          ``centroid_mm_z``, the centre of mass in the world (a 3 x 3 affine has no z);
        - with ``images``: ``mean_intensity`` and ``max_intensity``; of several image channels ``mean_intensity_0``,
          ``max_intensity_0``, ``mean_intensity_1``, ...

    Raises:
        TypeError: ``instances`` is not an ``Instances``; ``affine`` or ``images`` hold something else than arrays.
        ValueError: the shape of ``affine`` or ``images`` does not fit, or they are not finite.

    Example:
        >>> import torch
        >>> from monai_instance_loss.instances import label_instances
        >>> mask = torch.tensor([[[[0, 1, 1], [0, 0, 0], [1, 0, 0]]]])
        >>> rows = measure_instances(label_instances(mask), affine=torch.diag(torch.tensor([2.0, 3.0, 1.0])))
        >>> [(row["id"], row["voxels"], row["area_mm2"], row["centroid_mm_y"]) for row in rows]
        [(1, 2, 12.0, 4.5), (2, 1, 6.0, 0.0)]
    """
    if not isinstance(instances, Instances):
        raise TypeError(f"Expected `instances` to be an Instances, but got {type(instances).__name__}.")
    matrices = None if affine is None else _checked_affine(affine, instances)
    stacked = None if images is None else _checked_images(images, instances)
    voxels = InstanceVoxels.of(instances)
    low, high = voxels.boxes
    columns: dict[str, torch.Tensor] = {
        "id": torch.arange(1, instances.count + 1),
        "sample": instances.sample,
        "channel": instances.channel,
        "voxels": voxels.sizes,
    }
    if matrices is not None:
        columns |= _world(voxels, matrices)
    axes = range(len(voxels.spatial_shape))
    columns |= {f"centroid_voxel_{axis}": voxels.centroids[:, axis] for axis in axes}
    columns |= {f"box_start_{axis}": low[:, axis] for axis in axes}
    columns |= {f"box_stop_{axis}": high[:, axis] + 1 for axis in axes}
    if stacked is not None:
        columns |= _intensities(voxels, stacked)
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


class MeasureInstances(Transform):
    """Turn a mask into a table: one row an instance, with its size (1 voxel or more), its place and its intensity.

    Source: ours, a thin class on ``measure_instances``, which lists the columns. A MetaTensor brings its affine, so
    that volumes and centres are in mm too; MONAI makes that 1 mm where it knows none. The table is a list that has
    another length for each mask, which no collation stacks: measure where nothing is collated afterwards, or pass
    ``collate_fn=monai.data.utils.no_collation``. Differentiable: nothing.

    Args:
        connectivity: as in ``LabelInstances``.
        is_instances: the input is an instance map rather than a mask; ``id`` is then the value in the map.

    Raises:
        ValueError: ``connectivity`` is given for an instance map.

    Example:
        >>> import numpy as np
        >>> [(row["id"], row["voxels"]) for row in MeasureInstances()(np.array([[[1, 1, 0, 1]]]))]
        [(1, 2), (2, 1)]
    """

    backend: ClassVar[list[TransformBackends]] = [TransformBackends.TORCH]

    def __init__(self, connectivity: int | None = None, is_instances: bool = False) -> None:
        check_reading(connectivity, is_instances)
        self.connectivity = connectivity
        self.is_instances = is_instances

    def __call__(self, mask: NdarrayOrTensor, image: NdarrayOrTensor | None = None) -> list[dict[str, float | int]]:
        """Measure the instances of one mask.

        Args:
            mask: (C, H, W) or (C, H, W, D), any dtype, values 0 and 1; an instance map where ``is_instances``.
            image: (K, *spatial), the same spatial shape; with it come the intensities.

        Returns:
            The rows of ``measure_instances``; ``sample`` is 0.

        Raises:
            TypeError, ValueError: as in ``LabelInstances`` and ``measure_instances``.
        """
        instances = read_instances(mask, self.connectivity, self.is_instances)
        affine = mask.affine if isinstance(mask, MetaTensor) else None
        rows = measure_instances(instances, affine, None if image is None else [image])
        if self.is_instances:
            for row, value in zip(rows, _map_values(mask, instances), strict=True):
                row["id"] = value
        return rows


def _world(voxels: InstanceVoxels, affine: torch.Tensor) -> dict[str, torch.Tensor]:
    """Size and centre of each instance in mm; ``affine`` is float64 (B, n, n)."""
    dims, sample = len(voxels.spatial_shape), voxels.instances.sample
    own = affine[sample]
    centroids = (own[:, :-1, :dims] @ voxels.centroids[:, :, None])[:, :, 0] + own[:, :-1, -1]
    return {
        "volume_mm3" if dims == 3 else "area_mm2": voxels.sizes * voxel_size(affine, dims)[sample],
        **{f"centroid_mm_{name}": values for name, values in zip("xyz", centroids.unbind(1), strict=False)},
    }


def _intensities(voxels: InstanceVoxels, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mean and maximum of each instance in each channel of ``images`` (B, K, *spatial)."""
    channels, extent = voxels.instances.shape[1], voxels.spatial_shape.numel()
    sample, place = voxels.position // max(channels * extent, 1), voxels.position % max(extent, 1)
    columns = {}
    for k in range(images.shape[1]):
        values = images[:, k].flatten(1)[sample, place].double()
        if not bool(torch.isfinite(values).all()):
            raise ValueError("Expected `images` to be finite within instances, but got NaN or infinity.")
        suffix = f"_{k}" if images.shape[1] > 1 else ""
        columns[f"mean_intensity{suffix}"] = segment_sum(values, voxels.owner, voxels.count) / voxels.sizes
        columns[f"max_intensity{suffix}"] = values.new_zeros(voxels.count).scatter_reduce_(
            0, voxels.owner, values, "amax", include_self=False
        )
    return columns


def _checked_affine(affine: Any, instances: Instances) -> torch.Tensor:
    """The affine as float64 (B, n, n) on the device of the instances."""
    if not isinstance(affine, (torch.Tensor, np.ndarray)):
        raise TypeError(f"Expected `affine` to be a torch.Tensor or numpy.ndarray, but got {type(affine).__name__}.")
    batch, dims = instances.shape[0], len(instances.shape) - 2
    matrix = convert_to_tensor(affine, dtype=torch.float64, device=instances.sample.device)
    sides = (4,) if dims == 3 else (3, 4)
    if tuple(matrix.shape) not in {(*rows, n, n) for rows in ((), (batch,)) for n in sides}:
        raise ValueError(
            f"Expected `affine` to be (n, n) or ({batch}, n, n), n in {sides} for {dims} spatial dimensions, but got "
            f"shape {tuple(matrix.shape)}."
        )
    if not bool(torch.isfinite(matrix).all()):
        raise ValueError("Expected `affine` to be finite, but got NaN or infinity.")
    return matrix.expand(batch, *matrix.shape[-2:])


def _checked_images(images: Any, instances: Instances) -> torch.Tensor:
    """The images as one plain (B, K, *spatial) tensor on the device of the instances."""
    parts = images if isinstance(images, (list, tuple)) else [images]
    if not all(isinstance(part, (torch.Tensor, np.ndarray)) for part in parts):
        raise TypeError(
            f"Expected `images` to be tensors or arrays, but got {', '.join(type(x).__name__ for x in parts)}."
        )
    shapes = [tuple(part.shape) for part in parts]
    plain = [convert_to_tensor(part, track_meta=False, device=instances.sample.device) for part in parts]
    batch, _, *spatial = instances.shape
    whole = plain[0] if parts is not images else torch.stack(plain) if len(set(shapes)) == 1 else None
    if whole is None or whole.ndim != len(spatial) + 2 or [len(whole), *whole.shape[2:]] != [batch, *spatial]:
        raise ValueError(
            f"Expected `images` to be ({batch}, K, {', '.join(map(str, spatial))}) or a sequence of {batch} such "
            f"images, but got {shapes}."
        )
    if whole.is_complex():
        raise TypeError(f"Expected `images` to be real, but got {whole.dtype}.")
    return whole


def _map_values(mask: NdarrayOrTensor, instances: Instances) -> list[int]:
    """The value that each instance has in the map it was read from."""
    voxels = InstanceVoxels.of(instances)
    values = plain_tensor(mask).reshape(-1)[voxels.position].long()
    # every voxel of an instance holds the same value
    own: list[int] = values.new_zeros(instances.count).scatter_(0, voxels.owner, values).tolist()
    return own
