"""Seeded synthetic predictions and targets for benchmarks."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F


def lesions(shape: tuple[int, ...], count: int, seed: int = 0, max_radius: int = 5) -> torch.Tensor:
    """Binary float32 (B, 1, *spatial) target with `count` balls spread over the batch; some may merge."""
    rng = np.random.default_rng(seed)
    target = np.zeros(shape, np.float32)
    for k in range(count):
        radius = int(rng.integers(1, max_radius))
        center = [int(rng.integers(radius + 1, extent - radius - 1)) for extent in shape[2:]]
        window = tuple(slice(c - radius, c + radius + 1) for c in center)
        grid = np.ogrid[window]
        ball = sum((axis - c) ** 2 for axis, c in zip(grid, center, strict=True)) <= radius**2
        volume = target[k % shape[0], 0]
        volume[window] = np.maximum(volume[window], ball)
    return torch.from_numpy(target)


def specks(shape: tuple[int, ...], count: int, seed: int = 0) -> torch.Tensor:
    """Binary float32 (B, 1, *spatial) target with `count` balls of radius 1 that cannot merge, or as many as fit."""
    rng = np.random.default_rng(seed)
    target = np.zeros(shape, np.float32)
    # a ball is three voxels wide: on a grid of four, one voxel stays between neighbours
    cells = (shape[0], *((extent - 1) // 4 for extent in shape[2:]))
    chosen = rng.permutation(math.prod(cells))[:count]
    sample, *grid = np.unravel_index(chosen, cells)
    center = [2 + 4 * axis for axis in grid]
    target[(sample, 0, *center)] = 1
    for axis in range(len(center)):
        for step in (-1, 1):
            moved = [index + step if axis == k else index for k, index in enumerate(center)]
            target[(sample, 0, *moved)] = 1
    return torch.from_numpy(target)


def logits(target: torch.Tensor, seed: int = 0, false_count: int = 0, blurred: bool = True) -> torch.Tensor:
    """Logits of a model in mid-training: lesions blurred and shifted by a voxel, a third of them missed, some false."""
    generator = torch.Generator().manual_seed(seed)
    dims = tuple(range(2, target.ndim))
    seen = torch.roll(target, (1,) * len(dims), dims)
    strength = F.interpolate(
        torch.rand((target.shape[0], 1, *[max(2, n // 16) for n in target.shape[2:]]), generator=generator),
        size=target.shape[2:],
        mode="nearest",
    )
    seen = seen * (strength > 1 / 3)
    if false_count:
        place = lesions if blurred else specks
        seen = torch.maximum(seen, place(tuple(target.shape), false_count, seed + 1))
    if blurred:
        pool = F.avg_pool3d if len(dims) == 3 else F.avg_pool2d
        seen = pool(seen, 3, 1, 1)
    return seen * 8 - 5 + torch.randn(target.shape, generator=generator) * 0.5


def noise(shape: tuple[int, ...], foreground: float, threshold: float, seed: int = 0) -> torch.Tensor:
    """Logits of a model that has learned nothing: normal noise, `foreground` of its voxels with p >= `threshold`."""
    generator = torch.Generator().manual_seed(seed)
    mean = math.log(threshold / (1 - threshold)) + math.sqrt(2) * float(
        torch.erfinv(torch.tensor(2 * foreground - 1, dtype=torch.float64))
    )
    return mean + torch.randn(shape, generator=generator)
