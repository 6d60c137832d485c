"""Which voxels are left out: one rule for losses, metrics and transforms."""

from __future__ import annotations

import torch

__all__ = ["holds", "ignored_voxels"]


def ignored_voxels(target: torch.Tensor, ignore_index: int | None) -> torch.Tensor | None:
    """Bool (B, 1, *spatial), True where any channel of a target holds ``ignore_index``; None without one.

    Source: ours. MONAI's losses follow another rule for several channels: they leave out voxels of no class. That drops
    the background of a target that has no background channel.

    Args:
        target: (B, C, *spatial), any dtype.
        ignore_index: the value of voxels to leave out.

    Raises:
        ValueError: ``ignore_index`` is 0 or 1 for a target of more than one channel, which every voxel may hold.

    Example:
        >>> ignored_voxels(torch.tensor([[[[1, 0]], [[0, 255]]]]), 255).tolist()
        [[[[False, True]]]]
    """
    if ignore_index is None:
        return None
    if target.shape[1] > 1 and ignore_index in (0, 1):
        raise ValueError(
            f"Expected `ignore_index` to be neither 0 nor 1 for {target.shape[1]} channels, but got {ignore_index}."
        )
    return holds(target, ignore_index).any(1, keepdim=True)


def holds(values: torch.Tensor, value: int) -> torch.Tensor:
    """Bool of the shape of ``values``: where they hold a value."""
    # compared within a narrow dtype, a value out of its range would wrap around onto another one
    narrow = values.dtype in (torch.uint8, torch.int8)
    return (values.short() if narrow else values) == value
