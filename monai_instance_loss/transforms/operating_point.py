"""Probabilities to a mask by an operating point."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import ClassVar

import torch
from monai.config import NdarrayOrTensor
from monai.transforms import Transform
from monai.utils import TransformBackends

from monai_instance_loss.instances.spacing import checked_spacing
from monai_instance_loss.operating_points import OperatingPoint, apply_operating_point
from monai_instance_loss.transforms.inputs import restored

__all__ = ["InstanceOperatingPoint"]


class InstanceOperatingPoint(Transform):
    """Turn probabilities into a mask, 0 and 1, by an operating point that was chosen on validation cases.

    Source: ours; it is ``operating_points.apply_operating_point`` where MONAI has ``AsDiscrete(threshold=...)``. Put it
    after the activation and, as volumes are in mm3, after the probabilities are back on the grid of the scan.
    Differentiable: nothing.

    Args:
        point: the operating point, or its JSON file, which ``python -m monai_instance_loss tune`` writes and which is
            read at once.
        spacing_mm: voxel size along each spatial axis in mm, which only a smallest volume needs; None reads a
            MetaTensor's affine.

    Raises:
        TypeError: ``point`` is neither a point nor a path, or ``spacing_mm`` no sequence.
        ValueError: the file holds no operating point, or ``spacing_mm`` no positive numbers.
        OSError: the file cannot be read.

    Example:
        >>> import numpy as np
        >>> transform = InstanceOperatingPoint(OperatingPoint(0.3, high_threshold=0.8))
        >>> transform(np.array([[[0.4, 0.9, 0.0, 0.4, 0.5]]]))
        array([[[1, 1, 0, 0, 0]]], dtype=uint8)
    """

    backend: ClassVar[list[TransformBackends]] = [TransformBackends.TORCH]

    def __init__(
        self, point: OperatingPoint | str | os.PathLike[str], spacing_mm: Sequence[float] | None = None
    ) -> None:
        if not isinstance(point, (OperatingPoint, str, os.PathLike)):
            raise TypeError(f"Expected `point` to be an OperatingPoint or a path, but got {type(point).__name__}.")
        self.point = point if isinstance(point, OperatingPoint) else OperatingPoint.load(point)
        checked_spacing(spacing_mm)
        self.spacing_mm = spacing_mm

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        """Make the mask of one map of probabilities.

        Args:
            img: (C, H, W) or (C, H, W, D), any dtype, in [0, 1]; each channel by itself.

        Returns:
            uint8 mask of the same shape: numpy for numpy, else a tensor on the same device, with the metadata of a
            MetaTensor.

        Raises:
            TypeError, ValueError: as in ``apply_operating_point``.
        """
        return restored(apply_operating_point(img, self.point, self.spacing_mm), img, torch.uint8)
