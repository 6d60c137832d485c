"""Where the centres of instances are, painted: as the boxes of the center loss, or as Gaussians."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from monai.config import NdarrayOrTensor
from monai.transforms import Transform
from monai.utils import TransformBackends

from monai_instance_loss._checks import check_channel_first, checked_count, checked_number
from monai_instance_loss.transforms.inputs import affine_of, check_reading, restored
from monai_instance_loss.transforms.reading import read_instances
from monai_instance_loss.transforms.voxels import InstanceVoxels

__all__ = ["InstanceCenters"]

_RADIUS = 3
# where a Gaussian ends, in sigmas, as in MONAI's GenerateHeatmap: it is below 3.4e-4 there
_REACH = 4.0
# voxels of windows painted at a time, which bounds the memory whatever the number of instances
_CHUNK = 2**20


class InstanceCenters(Transform):
    """Turn a mask into a map in [0, 1] of where the centres of its instances are.

    Source: the boxes are those of the center loss, Rachmadi et al., Comput. Biol. Med. 174 (2024) 108414; the heat map
    is the common target of detection by key points. Every channel is painted by itself. The centre of an instance is
    the centre of mass of its voxels, and may lie outside of it. Differentiable: nothing.

    Convention: ``"box"`` is 1 on boxes of one size and 0 elsewhere, exactly the true map of ``InstanceLoss``'s center
    term with ``center_radius=radius``: a box is ``radius`` voxels wide to each side along the longest axis, less in
    proportion along the others. ``"gaussian"`` is the largest of exp(-d^2 / (2 sigma^2)) over the instances, d being
    the distance of a voxel from a centre; it is 0 where d is above 4 sigma, and 1 only where a centre falls on a voxel.

    Args:
        mode: ``"box"`` or ``"gaussian"``.
        radius: half-width of a box in voxels, 0 or more; None is 3. For boxes only.
        sigma_voxels: standard deviation of a Gaussian in voxels.
        sigma_mm: the same in mm, round in the world where voxels are not. A heat map needs one of the two.
        spacing_mm: voxel size along each spatial axis, for ``sigma_mm``; None reads a MetaTensor's affine.
        connectivity: as in ``LabelInstances``.
        is_instances: the input is an instance map rather than a mask.

    Raises:
        TypeError: an option is of another type.
        ValueError: it is out of range or unknown, or belongs to the other mode.

    Example:
        >>> import numpy as np
        >>> InstanceCenters("box", radius=1)(np.array([[[0, 0, 0, 0, 1, 0, 0]]])).astype(int)
        array([[[0, 0, 1, 1, 1, 0, 0]]])
        >>> InstanceCenters("gaussian", sigma_voxels=1.0)(np.array([[[0, 0, 0, 0, 1, 0]]])).round(2)
        array([[[0.  , 0.01, 0.14, 0.61, 1.  , 0.61]]], dtype=float32)
    """

    backend: ClassVar[list[TransformBackends]] = [TransformBackends.TORCH]

    def __init__(
        self,
        mode: Literal["box", "gaussian"] = "box",
        radius: int | None = None,
        sigma_voxels: float | None = None,
        sigma_mm: float | None = None,
        spacing_mm: Sequence[float] | None = None,
        connectivity: int | None = None,
        is_instances: bool = False,
    ) -> None:
        check_reading(connectivity, is_instances)
        _check_mode(mode, radius, sigma_voxels, sigma_mm, spacing_mm)
        self.mode = mode
        self.radius = _RADIUS if radius is None else checked_count("radius", radius, 0)
        self.sigma_voxels = None if sigma_voxels is None else checked_number("sigma_voxels", sigma_voxels, above=True)
        self.sigma_mm = None if sigma_mm is None else checked_number("sigma_mm", sigma_mm, above=True)
        self.spacing_mm = spacing_mm
        self.connectivity = connectivity
        self.is_instances = is_instances

    def __call__(self, mask: NdarrayOrTensor) -> NdarrayOrTensor:
        """Paint the centres of one mask.

        Args:
            mask: (C, H, W) or (C, H, W, D), any dtype, values 0 and 1; an instance map where ``is_instances``.

        Returns:
            float32 of the same shape, type and device, with the metadata of a MetaTensor.

        Raises:
            TypeError, ValueError: as in ``LabelInstances``; ``sigma_mm`` is set and the voxel size is unknown.
        """
        check_channel_first("mask", mask)
        sigma = None if self.mode == "box" else self._sigma(mask)
        voxels = InstanceVoxels.of(read_instances(mask, self.connectivity, self.is_instances))
        painted = _boxes(voxels, self.radius) if sigma is None else _gaussians(voxels, sigma)
        return restored(painted[0], mask, torch.float32)

    def _sigma(self, mask: NdarrayOrTensor) -> torch.Tensor:
        """float64 (spatial dims,), in voxels along each axis."""
        dims = mask.ndim - 1
        if self.sigma_voxels is not None:
            return torch.full((dims,), self.sigma_voxels, dtype=torch.float64)
        return self.sigma_mm / affine_of(mask, self.spacing_mm)[:-1, :dims].norm(dim=0)


def _boxes(voxels: InstanceVoxels, radius: int) -> torch.Tensor:
    """float32 of the batch's shape, 1 on the center boxes."""
    extent = torch.tensor(voxels.spatial_shape, device=voxels.owner.device)
    # integer ceilings: rounding a centre of mass must not hang on the last bit of a float
    center = -torch.div(-voxels.coordinate_sums, voxels.sizes[:, None], rounding_mode="floor")
    half = -torch.div(-radius * extent, extent.amax().clamp(min=1), rounding_mode="floor")
    picture = torch.zeros(voxels.instances.shape.numel(), device=voxels.owner.device)
    for window in _windows(voxels, center - half - 1, center + half):
        picture[window.position[window.inside]] = 1
    return picture.view(voxels.instances.shape)


def _gaussians(voxels: InstanceVoxels, sigma: torch.Tensor) -> torch.Tensor:
    """float32 of the batch's shape, the heat map."""
    center, sigma = voxels.centroids, sigma.to(voxels.owner.device)
    low, high = (center - _REACH * sigma).ceil().long(), (center + _REACH * sigma).floor().long() + 1
    picture = torch.zeros(voxels.instances.shape.numel(), device=center.device)
    for window in _windows(voxels, low, high):
        squared = torch.zeros_like(window.position, dtype=torch.float32)
        for axis, index in enumerate(window.index):
            own = center[window.chunk, axis].view(-1, *[1] * len(sigma))
            squared += ((index - own) / sigma[axis]).square().float()
        heat = torch.exp(-squared / 2) * (squared <= _REACH**2)
        picture.scatter_reduce_(0, window.position[window.inside], heat[window.inside], "amax")
    return picture.view(voxels.instances.shape)


@dataclass(frozen=True, eq=False)
class _Windows:
    """Windows of one size around some of the instances, as many voxels of each as the largest window has.

    Attributes:
        chunk: which instances, n of them.
        index: voxel index along each axis, int64, (n, size, 1, 1), (n, 1, size, 1), ... for three of them.
        position: int64 (n, *size), flat position in the batch.
        inside: bool (n, *size), whether the voxel is in the instance's own window, and so in the image.
    """

    chunk: slice
    index: list[torch.Tensor]
    position: torch.Tensor
    inside: torch.Tensor


def _windows(voxels: InstanceVoxels, low: torch.Tensor, high: torch.Tensor) -> Iterator[_Windows]:
    """Windows from ``low`` up to and excluding ``high`` (N, spatial dims), cut at the border, a few at a time."""
    if voxels.count == 0:
        return
    spatial = voxels.spatial_shape
    low, high = low.clamp(min=0), torch.minimum(high, torch.tensor(spatial, device=low.device))
    size = (high - low).amax(0).clamp(min=0).tolist()
    step = max(1, _CHUNK // max(1, math.prod(size)))
    column = (-1, *[1] * len(size))
    for start in range(0, voxels.count, step):
        chunk = slice(start, start + step)
        position = voxels.instances.block[chunk].view(column)
        inside, indices = torch.ones_like(position, dtype=torch.bool), []
        for axis, length in enumerate(size):
            offset = torch.arange(length, device=low.device).view(-1, *[1] * (len(size) - axis - 1))
            index = low[chunk, axis].view(column) + offset
            position = position * spatial[axis] + index
            inside = inside & (index < high[chunk, axis].view(column))
            indices.append(index)
        yield _Windows(chunk, indices, position, inside)


def _check_mode(
    mode: str,
    radius: int | None,
    sigma_voxels: float | None,
    sigma_mm: float | None,
    spacing_mm: Sequence[float] | None,
) -> None:
    if mode not in ("box", "gaussian"):
        raise ValueError(f"Expected `mode` to be 'box' or 'gaussian', but got {mode!r}.")
    if mode == "gaussian" and (sigma_voxels is None) == (sigma_mm is None):
        raise ValueError(
            f"Expected one of `sigma_voxels` and `sigma_mm` for mode 'gaussian', but got {sigma_voxels!r} and "
            f"{sigma_mm!r}."
        )
    foreign = {"radius": radius} if mode == "gaussian" else {"sigma_voxels": sigma_voxels, "sigma_mm": sigma_mm}
    for name, value in foreign.items():
        if value is not None:
            raise ValueError(f"Expected `{name}` to be None for mode {mode!r}, but got {value!r}.")
    if spacing_mm is not None and sigma_mm is None:
        raise ValueError(f"Expected `spacing_mm` to be None without `sigma_mm`, but got {spacing_mm}.")
