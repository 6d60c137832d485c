"""Backends of the labelling: the same partition, ids and dtype from each; chosen by the device of the mask."""

from __future__ import annotations

import torch

from monai_instance_loss.instances.backends.cpu import label_blocks_cpu
from monai_instance_loss.instances.backends.propagation import label_blocks_torch

__all__ = ["label_blocks", "label_blocks_cpu", "label_blocks_torch"]


def label_blocks(mask: torch.Tensor, connectivity: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Label each block of a bool (blocks, *spatial) mask; ids run on from block to block.

    Returns int32 labels of the same shape, contiguous, and the int64 number of instances in each block, both on the
    device of the mask.
    """
    if mask.numel() == 0:
        return torch.zeros_like(mask, dtype=torch.int32), torch.zeros(
            mask.shape[0], dtype=torch.int64, device=mask.device
        )
    if mask.device.type == "cpu":
        return label_blocks_cpu(mask, connectivity)
    return label_blocks_torch(mask, connectivity)
