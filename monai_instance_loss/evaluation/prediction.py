"""The mask of a prediction: from its file, or from probabilities and an operating point."""

from __future__ import annotations

import os
from dataclasses import replace

from monai_instance_loss.evaluation.header import Header
from monai_instance_loss.evaluation.loading import Volume, read_mask, read_probability
from monai_instance_loss.operating_points import OperatingPoint, apply_operating_point

__all__ = ["read_prediction"]


def read_prediction(file: str | os.PathLike[str] | Header, point: OperatingPoint | None = None) -> Volume:
    """Read a mask, 0 and 1, or with an operating point make one of a map of probabilities, as uint8.

    Source: ``read_mask``, ``read_probability`` and ``apply_operating_point``.

    Args:
        file: as in ``read_volume``.
        point: None where the file holds a mask.

    Raises:
        ValueError: as ``read_mask`` or ``read_probability``.

    Example:
        >>> import tempfile
        >>> import nibabel as nib
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as root:
        ...     nib.save(nib.Nifti1Image(np.array([[[0.2, 0.4, 0.9]]]), np.eye(4)), f"{root}/a.nii")
        ...     read_prediction(f"{root}/a.nii", OperatingPoint(0.3)).voxels
        array([[[0, 1, 1]]], dtype=uint8)
    """
    if point is None:
        return read_mask(file)
    volume = read_probability(file)
    return replace(volume, voxels=apply_operating_point(volume.voxels[None], point, volume.spacing_mm)[0])
