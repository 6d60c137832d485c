"""The mask of a prediction from probabilities and an operating point."""

from __future__ import annotations

import os
from dataclasses import replace

from monai_instance_loss.evaluation.header import Header
from monai_instance_loss.evaluation.loading import Volume, read_probability
from monai_instance_loss.operating_points import OperatingPoint, apply_operating_point

__all__ = ["mask_of"]


def mask_of(file: str | os.PathLike[str] | Header, point: OperatingPoint) -> Volume:
    """Make a mask, uint8 of 0 and 1, of a map of probabilities.

    Source: ``read_probability`` and ``apply_operating_point``.

    Args:
        file: as in ``read_volume``.
        point: threshold, smallest volume and hysteresis.

    Raises:
        ValueError: as ``read_probability``.

    Example:
        >>> import tempfile
        >>> import nibabel as nib
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as root:
        ...     nib.save(nib.Nifti1Image(np.array([[[0.2, 0.4, 0.9]]]), np.eye(4)), f"{root}/a.nii")
        ...     mask_of(f"{root}/a.nii", OperatingPoint(0.3)).voxels
        array([[[0, 1, 1]]], dtype=uint8)
    """
    volume = read_probability(file)
    return replace(volume, voxels=apply_operating_point(volume.voxels[None], point, volume.spacing_mm)[0])
