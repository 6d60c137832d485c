"""From a target in any of its forms to a mask: binary channels, class labels or instance maps, and ignored voxels."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from monai.networks import one_hot

from monai_instance_loss.instances.voxels import positions

__all__ = ["TargetMask", "binary_mask", "class_mask", "instance_mask", "value_range"]

# types of device that check a target while the host goes on
_DEVICES = ("cuda",)
# foreground of fewer voxels than one in so many is looked at alone
_SPARSE = 16


class TargetMask(NamedTuple):
    """A target as a mask: bool (B, C, *spatial), and what is known of its voxels.

    Attributes:
        mask: bool (B, C, *spatial).
        position: int64 (T,), flat positions of its voxels, or None where they were not looked for.
        ids: (T,) ids of these voxels, or None where the target is no instance map.
    """

    mask: torch.Tensor
    position: torch.Tensor | None = None
    ids: torch.Tensor | None = None


def class_mask(target: torch.Tensor, channels: int) -> TargetMask:
    """One bool channel a class, from class labels (B, 1, *spatial).

    Raises:
        ValueError: a label that is no whole number in 0..channels-1.
    """
    low, high = _extremes(target)
    whole = not target.is_floating_point() or torch.equal(target, target.round())
    if not (low >= 0 and high <= channels - 1 and whole):
        raise ValueError(
            f"Expected `target` to be class labels in 0..{channels - 1} with to_onehot_y=True, but got "
            f"{value_range(target)}."
        )
    return TargetMask(one_hot(target, num_classes=channels, dtype=torch.bool))


def binary_mask(target: torch.Tensor) -> TargetMask:
    """A mask from channels (B, C, *spatial) of 0 and 1.

    Raises:
        ValueError: any other value (a NaN is one).
        RuntimeError: the same on CUDA, which the device reports while the host goes on.
    """
    if target.dtype == torch.bool:
        return TargetMask(target)
    mask = target.bool()
    if mask.device.type in _DEVICES:
        torch._assert_async((target == mask).all(), "Expected `target` to be binary, values in {0, 1}.")
        return TargetMask(mask)
    position = None
    # numpy counts in a tenth of torch's time
    if np.count_nonzero(mask.numpy()) * _SPARSE > mask.numel():
        is_binary = bool((target == mask).all())
    else:
        # what is no foreground is 0: only foreground, where it is sparse, has to be looked at
        position = positions(mask)
        is_binary = bool((target.reshape(-1).index_select(0, position) == 1).all())
    if not is_binary:
        raise ValueError(f"Expected `target` to be binary, values in {{0, 1}}, but got {value_range(target)}.")
    return TargetMask(mask, position)


def instance_mask(target: torch.Tensor, ignore_index: int | None) -> TargetMask:
    """The mask of an instance map (B, C, *spatial), with the ids of its voxels.

    Raises:
        ValueError: ids that are negative or not whole.
    """
    mask = target.bool()
    position = positions(mask)
    ids = target.reshape(-1).index_select(0, position)
    low, high = _extremes(ids)
    if not (low >= 0 and math.isfinite(high)):
        raise ValueError(
            f"Expected `target` to be an instance map (0 background, ids above, ignore_index={ignore_index}), but got "
            f"{value_range(target)}."
        )
    if ids.is_floating_point() and not torch.equal(ids, ids.round()):
        raise ValueError(f"Expected `target` to be an instance map of whole numbers, but got {value_range(target)}.")
    return TargetMask(mask, position, ids)


def value_range(values: torch.Tensor) -> str:
    """The type of a tensor and the range of its values, in words."""
    low, high = _extremes(values)
    return f"{values.dtype} values from {low:g} to {high:g}"


def _extremes(values: torch.Tensor) -> tuple[float, float]:
    if values.numel() == 0:
        return 0.0, 0.0
    low, high = torch.aminmax(values)
    return float(low), float(high)
