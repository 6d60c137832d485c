"""Backends of the labelling: the same partition, ids and dtype from each; chosen by the device of the mask."""

from __future__ import annotations

import torch

from monai_instance_loss.instances.backends.cpu import BlockLabels, label_blocks_cpu
from monai_instance_loss.instances.backends.propagation import DenseLabels, label_blocks_torch
from monai_instance_loss.instances.backends.runs import SparseLabels

__all__ = [
    "BlockLabels",
    "DenseLabels",
    "Labels",
    "SparseLabels",
    "label_blocks",
    "label_blocks_cpu",
    "label_blocks_torch",
]

Labels = BlockLabels | DenseLabels | SparseLabels


def label_blocks(mask: torch.Tensor, connectivity: int) -> tuple[Labels, torch.Tensor]:
    """Label each block of a bool (blocks, *spatial) mask; ids run on from block to block.

    Returns the labels, and the int64 number of instances in each block, on the device of the mask.
    """
    if mask.numel() == 0:
        empty = torch.zeros_like(mask, dtype=torch.int32)
        return DenseLabels(empty), torch.zeros(mask.shape[0], dtype=torch.int64, device=mask.device)
    if mask.device.type == "cpu":
        return label_blocks_cpu(mask, connectivity)
    return label_blocks_torch(mask, connectivity)
