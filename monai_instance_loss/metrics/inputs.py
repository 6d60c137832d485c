"""What the metrics accept: checks, ignored voxels and background, in one place."""

from __future__ import annotations

from typing import Any

import torch
from monai.metrics.utils import ignore_background

from monai_instance_loss._ignored import holds, ignored_voxels

__all__ = ["checked_probability", "prepare_instance_maps", "prepare_masks"]


def prepare_masks(
    y_pred: Any, y: Any, include_background: bool = True, ignore_index: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Check a binarised prediction and ground truth and turn them into bool masks.

    Source: ours. Ignored voxels are taken out of both masks. Differentiable: nothing.

    Args:
        y_pred: (B, C, H, W) or (B, C, H, W, D), any dtype, values 0 and 1.
        y: the same shape, values 0, 1 and ``ignore_index``.
        include_background: whether to keep the first channel; a single channel is always kept.
        ignore_index: the value in ``y`` of voxels to leave out; in any channel it takes the voxel out of all of them.

    Returns:
        Plain bool masks (B, C or C - 1, *spatial) of the prediction and of the ground truth.

    Raises:
        TypeError: an argument is not a tensor.
        ValueError: the shapes differ or are not 4D or 5D, a mask is not binary or holds NaN, or ``ignore_index`` is 0
            or 1, which every voxel of more than one channel may hold.

    Example:
        >>> import torch
        >>> masks = prepare_masks(torch.ones(1, 1, 1, 3), torch.tensor([[[[1, 0, -1]]]]), ignore_index=-1)
        >>> [mask.int().tolist() for mask in masks]
        [[[[[1, 1, 0]]]], [[[[1, 0, 0]]]]]
    """
    y_pred, y = _plain_pair(y_pred, y)
    out = ignored_voxels(y, ignore_index)
    ignored = None if ignore_index is None else holds(y, ignore_index)
    _check_binary("y_pred", y_pred, "values in {0, 1}")
    allowed = "values in {0, 1}" if ignored is None else f"values in {{0, 1}} or the ignore_index {ignore_index}"
    _check_binary("y", y if ignored is None else y.masked_fill(ignored, 0), allowed)
    y_pred, y = (mask if mask.dtype == torch.bool else mask != 0 for mask in (y_pred, y))
    if out is not None:
        y_pred, y = y_pred & ~out, y & ~out
    return (y_pred, y) if include_background else ignore_background(y_pred, y)


def prepare_instance_maps(
    y_pred: Any, y: Any, include_background: bool = True, ignore_index: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Check a predicted and a true instance map and take ignored voxels and background channels out.

    Source: ours. Differentiable: nothing.

    Args:
        y_pred: (B, C, H, W) or (B, C, H, W, D), any dtype, whole numbers: ids, unique within a sample's channel;
            values of zero and below are background.
        y: the same shape and meaning.
        include_background: whether to keep the first channel; a single channel is always kept.
        ignore_index: the value in ``y`` of voxels to leave out; in any channel it takes the voxel out of all of them.

    Returns:
        Plain maps (B, C or C - 1, *spatial) of the prediction and of the ground truth, of the dtype they came in.

    Raises:
        TypeError: an argument is not a tensor.
        ValueError: the shapes differ or are not 4D or 5D, a map holds something else than whole numbers, or
            ``ignore_index`` is 0, which every voxel of more than one channel may hold.

    Example:
        >>> import torch
        >>> maps = prepare_instance_maps(torch.tensor([[[[5, 5, 2]]]]), torch.tensor([[[[1, 0, -1]]]]), ignore_index=-1)
        >>> [map.tolist() for map in maps]
        [[[[[5, 5, 0]]]], [[[[1, 0, 0]]]]]
    """
    y_pred, y = _plain_pair(y_pred, y)
    if y.shape[1] > 1 and ignore_index == 0:
        raise ValueError(f"Expected `ignore_index` to be other than 0 for {y.shape[1]} channels, but got 0.")
    for name, value in (("y_pred", y_pred), ("y", y)):
        if value.is_floating_point():
            # infinity equals its own truncation
            odd = (value != value.trunc()) | value.isinf()
            if bool(odd.any()):
                raise ValueError(f"Expected `{name}` to hold whole numbers, but got {value[odd][0].item()}.")
    if ignore_index is not None:
        ignored = holds(y, ignore_index).any(1, keepdim=True)
        y_pred, y = y_pred.masked_fill(ignored, 0), y.masked_fill(ignored, 0)
    return (y_pred, y) if include_background else ignore_background(y_pred, y)


def checked_probability(name: str, value: torch.Tensor) -> torch.Tensor:
    """Plain probabilities of any shape in [0, 1], half precision as float32.

    Raises:
        ValueError: a value is outside [0, 1], or NaN.

    Example:
        >>> checked_probability("y_pred", torch.tensor([0.5, 1.5]))
        Traceback (most recent call last):
        ValueError: Expected `y_pred` to hold probabilities in [0, 1], but got 1.5.
    """
    probability = value.detach().as_subclass(torch.Tensor)
    if probability.dtype in (torch.float16, torch.bfloat16):
        # compared in half precision, a threshold itself would be rounded
        probability = probability.float()
    odd = ~((probability >= 0) & (probability <= 1))
    if bool(odd.any()):
        raise ValueError(f"Expected `{name}` to hold probabilities in [0, 1], but got {probability[odd][0].item()}.")
    return probability


def _plain_pair(y_pred: Any, y: Any) -> tuple[torch.Tensor, torch.Tensor]:
    y_pred, y = _plain("y_pred", y_pred), _plain("y", y)
    if y.shape != y_pred.shape:
        raise ValueError(
            f"Expected `y` to have the shape of `y_pred`, {tuple(y_pred.shape)}, but got {tuple(y.shape)}."
        )
    return y_pred, y


def _plain(name: str, value: Any) -> torch.Tensor:
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"Expected `{name}` to be a torch.Tensor, but got {type(value).__name__}.")
    if value.ndim not in (4, 5):
        raise ValueError(
            f"Expected `{name}` to be (B, C, H, W) or (B, C, H, W, D), but got shape {tuple(value.shape)}."
        )
    return value.detach().as_subclass(torch.Tensor)


def _check_binary(name: str, value: torch.Tensor, allowed: str) -> None:
    if value.dtype == torch.bool:
        return
    odd = (value != 0) & (value != 1)
    if bool(odd.any()):
        raise ValueError(f"Expected `{name}` to be binary, {allowed}, but got {value[odd][0].item()}.")
