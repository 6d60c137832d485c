"""How the transforms read masks and instance maps: one rule for labels and ignored voxels."""

from __future__ import annotations

from typing import Any

import torch
from monai.config import NdarrayOrTensor
from monai.data import MetaTensor
from monai.utils import ImageMetaKey

from monai_instance_loss._checks import check_channel_first
from monai_instance_loss._ignored import holds
from monai_instance_loss.instances import Instances, instances_from_map, label_instances
from monai_instance_loss.transforms.inputs import plain_tensor

__all__ = ["instances_of", "named", "read_instances", "read_mask", "read_values"]

# of a volume of fractions, an error lists the first labels only
_MOST_LABELS = 10


def named(name: str, value: Any) -> str:
    """The argument's name for an error, with the file that a MetaTensor was read from."""
    file = value.meta.get(ImageMetaKey.FILENAME_OR_OBJ) if isinstance(value, MetaTensor) else None
    return f"`{name}` ({file})" if file else f"`{name}`"


def read_mask(
    mask: NdarrayOrTensor, ignore_label: int | None = None, name: str = "mask"
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Read a mask by the one rule of the transforms, which is that of the metrics: 0, 1 and ``ignore_label``.

    Args:
        mask: (C, H, W) or (C, H, W, D), any dtype.
        ignore_label: value of voxels to leave out; in any channel it takes the voxel out of all of them.
        name: what errors call the mask.

    Returns:
        The mask, bool (C, *spatial), False where it is ignored; and the ignored voxels, bool (1, *spatial), None
        without an ``ignore_label``.

    Raises:
        TypeError: ``mask`` is neither a tensor nor an array, or complex.
        ValueError: it is not 3D or 4D or not finite; it holds another label, and the error lists all that it holds;
            ``ignore_label`` is 0 or 1, which every voxel of more than one channel may hold.

    Example:
        >>> import numpy as np
        >>> [values.int().tolist() for values in read_mask(np.array([[[1, 0, 2]], [[0, 1, 0]]]), ignore_label=2)]
        [[[[1, 0, 0]], [[0, 1, 0]]], [[[0, 0, 1]]]]
    """
    check_channel_first(name, mask)
    plain = plain_tensor(mask)
    if plain.is_complex():
        raise TypeError(f"Expected {named(name, mask)} to be bool, integer or float, but got {plain.dtype}.")
    if plain.is_floating_point() and not bool(torch.isfinite(plain).all()):
        raise ValueError(f"Expected {named(name, mask)} to be finite, but got NaN or infinity.")
    if ignore_label is None:
        _check_labels(plain, plain, "0 and 1", named(name, mask))
        return plain != 0, None
    if len(plain) > 1 and ignore_label in (0, 1):
        raise ValueError(
            f"Expected `ignore_label` to be neither 0 nor 1 for {len(plain)} channels, but got {ignore_label}."
        )
    ignored = holds(plain, ignore_label)
    _check_labels(plain.masked_fill(ignored, 0), plain, f"0, 1 and the ignore_label {ignore_label}", named(name, mask))
    ignored = ignored.any(0, keepdim=True)
    return (plain != 0) & ~ignored, ignored


def _check_labels(rest: torch.Tensor, plain: torch.Tensor, allowed: str, name: str) -> None:
    """Refuse other values than 0 and 1 in ``rest``, listing all those of ``plain``."""
    if rest.dtype == torch.bool or not bool(((rest != 0) & (rest != 1)).any()):
        return
    found = plain.double().unique().tolist()
    listed = ", ".join(f"{value:g}" for value in found[:_MOST_LABELS]) + (", ..." if len(found) > _MOST_LABELS else "")
    raise ValueError(f"Expected {name} to hold no labels but {allowed}, but got {listed}.")


def read_values(mask: NdarrayOrTensor, is_instances: bool, name: str = "mask") -> torch.Tensor:
    """A mask read by ``read_mask``, bool (C, *spatial), or an instance map as it is: 0 and below is no instance."""
    check_channel_first(name, mask)
    return plain_tensor(mask) if is_instances else read_mask(mask, name=name)[0]


def instances_of(values: torch.Tensor, connectivity: int | None, is_instances: bool) -> Instances:
    """The instances in values (C, *spatial) of a mask or an instance map, as a batch of one."""
    return instances_from_map(values[None]) if is_instances else label_instances(values[None], connectivity)


def read_instances(mask: NdarrayOrTensor, connectivity: int | None, is_instances: bool) -> Instances:
    """The instances of one (C, *spatial) mask or instance map, as a batch of one.

    Example:
        >>> import numpy as np
        >>> read_instances(np.array([[[1, 1, 0, 1]]]), None, is_instances=False).count
        2
    """
    return instances_of(read_values(mask, is_instances), connectivity, is_instances)
