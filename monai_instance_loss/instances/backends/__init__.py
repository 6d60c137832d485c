"""Backends of the labelling: the same partition, ids and dtype from each; chosen by the device of the mask."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from functools import cache

import torch

from monai_instance_loss.instances.backends.cpu import BlockLabels, label_blocks_cc3d, label_blocks_cpu
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

# the environment variable that names a backend; where it is not set, the device decides
_VARIABLE = "MONAI_INSTANCE_LOSS_LABELLING"


def label_blocks(
    mask: torch.Tensor,
    connectivity: int,
    position: torch.Tensor | None = None,
    inside: torch.Tensor | None = None,
) -> tuple[Labels, torch.Tensor]:
    """Label each block of a bool (blocks, *spatial) mask; ids run on from block to block.

    ``position`` int64 (V,), where they are known, are ascending flat positions of the foreground: of all of it, and of
    other voxels as well with ``inside``, bool (V,), which tells which are foreground. Returns the labels, and the int64
    number of instances in each block, on the device of the mask.
    """
    backend = _backend(mask.device.type)
    if mask.numel() == 0:
        empty = torch.zeros_like(mask, dtype=torch.int32)
        return DenseLabels(empty), torch.zeros(mask.shape[0], dtype=torch.int64, device=mask.device)
    if backend is label_blocks_cpu:
        return label_blocks_cpu(mask, connectivity, position, inside)
    return backend(mask, connectivity)


def _backend(device: str) -> Callable[[torch.Tensor, int], tuple[Labels, torch.Tensor]]:
    """The backend that the environment names, or else the fastest one for the type of device."""
    named = os.environ.get(_VARIABLE)
    if named is None:
        if device == "cpu":
            return label_blocks_cpu
        named = "torch" if _obstacle("triton", device) else "triton"
    elif named not in ("cc3d", "triton", "torch"):
        raise ValueError(f"Expected `{_VARIABLE}` to be 'cc3d', 'triton' or 'torch', but got {named!r}.")
    elif obstacle := _obstacle(named, device):
        raise RuntimeError(f"Expected `{_VARIABLE}` to be a backend that can label here, but got {named!r}: {obstacle}")
    if named == "triton":
        # triton is optional, and slow to import
        from monai_instance_loss.instances.backends.triton_labels import label_blocks_triton

        return label_blocks_triton
    return label_blocks_cc3d if named == "cc3d" else label_blocks_torch


def _obstacle(name: str, device: str) -> str:
    """Why a backend cannot label on a type of device; empty where it can."""
    if name == "cc3d" and device != "cpu":
        return f"cc3d labels masks on the CPU, and this one is on {device}."
    if name == "triton":
        interpreted = os.environ.get("TRITON_INTERPRET") == "1"
        if device != "cuda" and not (device == "cpu" and interpreted):
            return f"triton labels masks on CUDA (on the CPU with TRITON_INTERPRET=1), and this one is on {device}."
        return _missing_for_triton(interpreted)
    return ""


@cache
def _missing_for_triton(interpreted: bool) -> str:
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed."
    if not interpreted and not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "triton needs a C compiler to launch its kernels, and finds neither gcc nor clang, nor CC."
    return ""
