from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy import ndimage


@pytest.fixture(scope="session")
def draw_shape() -> Callable[[np.random.Generator], tuple[int, ...]]:
    def draw(rng: np.random.Generator) -> tuple[int, ...]:
        dims = rng.integers(2, 4)
        largest = 13 if dims == 2 else 7
        return (*rng.integers(1, 4, 2).tolist(), *rng.integers(1, largest, dims).tolist())

    return draw


@pytest.fixture(scope="session")
def draw_mask() -> Callable[[np.random.Generator, tuple[int, ...]], torch.Tensor]:
    """Noise of any density, or blobs; bool."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> torch.Tensor:
        density = rng.choice([0.0, 0.02, 0.1, 0.3, 0.6, 1.0])
        noise = rng.random(shape)
        if rng.random() < 0.3:
            noise = ndimage.uniform_filter(noise, (1, 1, *[2] * (len(shape) - 2)))
            return torch.from_numpy(noise <= np.quantile(noise, density))
        return torch.from_numpy(noise < density)

    return draw


@pytest.fixture(scope="session")
def relaid() -> Callable[[np.random.Generator, torch.Tensor], torch.Tensor]:
    """The same values in another type, in another order in memory, in a MetaTensor."""

    def relay(rng: np.random.Generator, mask: torch.Tensor) -> torch.Tensor:
        types = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
        types += [torch.float16, torch.bfloat16, torch.float32, torch.float64]
        mask = mask.to(types[rng.integers(len(types))])
        layout = rng.integers(4)
        if layout == 1:
            mask = mask.to(memory_format=torch.channels_last if mask.ndim == 4 else torch.channels_last_3d)
        elif layout == 2:
            mask = mask.transpose(0, -1).contiguous().transpose(0, -1)
        elif layout == 3:
            mask = torch.stack([mask, 1 - mask if mask.dtype != torch.bool else ~mask], -1)[..., 0]
        return MetaTensor(mask) if rng.random() < 0.3 else mask

    return relay


@pytest.fixture(scope="session")
def naive_labels() -> Callable[[np.ndarray, int | None], np.ndarray]:
    """scipy's components of one image, numbered by their first voxel."""

    def label(image: np.ndarray, connectivity: int | None = None) -> np.ndarray:
        found, count = ndimage.label(image, ndimage.generate_binary_structure(image.ndim, connectivity or image.ndim))
        order = sorted(range(1, count + 1), key=lambda k: np.flatnonzero(found == k)[0])
        return np.array([0, *(np.argsort(order) + 1)])[found]

    return label
