"""Masks and probability maps from NIfTI files, refused with a reason where they are not what they should be."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from monai_instance_loss.data.cases import check_same_grid as check_headers_agree

__all__ = ["Volume", "check_same_grid", "read_mask", "read_probability", "read_volume"]

_UNREADABLE = (ImageFileError, HeaderDataError, WrapStructError, OSError, EOFError, ValueError, zlib.error)
# sizeof_hdr, the first field of a header, tells NIfTI-2 from NIfTI-1
_NIFTI2 = tuple((540).to_bytes(4, order) for order in ("little", "big"))
# headers store float32; a wrong voxel size is off by far more
_SIZE_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume and its grid.

    Attributes:
        path: file it was read from.
        voxels: (X, Y, Z).
        affine: float64 (4, 4), from voxel indices to the scanner's coordinates in mm (right, anterior, superior).
    """

    path: Path
    voxels: NDArray[Any]
    affine: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of voxels along each axis."""
        return tuple(self.voxels.shape)

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Voxel size along each axis in mm."""
        return tuple(map(float, voxel_sizes(self.affine)))

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel in mm3."""
        x, y, z = self.affine[:3, :3].T
        return float(abs(x @ np.cross(y, z)))


def read_volume(path: str | os.PathLike[str]) -> Volume:
    """Read a NIfTI file with three axes, in mm; the values are any real numbers.

    Source: ours, on nibabel. The whole file is read, so that the checksum of a compressed one is verified.

    Args:
        path: a ``.nii`` or ``.nii.gz`` file.

    Raises:
        ValueError: it is missing, cut off or corrupt, has not three axes, holds no real numbers, is not in mm, or gives
            voxels no size or two.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     nib.save(nib.Nifti1Image(np.zeros((2, 3, 4), np.uint8), np.diag([1, 1, 3, 1])), f"{root}/a.nii.gz")
        ...     volume = read_volume(f"{root}/a.nii.gz")
        >>> volume.shape, volume.spacing_mm, volume.voxel_mm3
        ((2, 3, 4), (1.0, 1.0, 3.0), 3.0)
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.name.endswith(".gz") else raw
        image = (nib.Nifti2Image if raw[:4] in _NIFTI2 else nib.Nifti1Image).from_bytes(raw)
        voxels = np.asanyarray(image.dataobj)
    except _UNREADABLE as error:
        raise ValueError(f"Expected {path} to be a readable NIfTI file, but got: {error}") from error
    if voxels.ndim != 3:
        raise ValueError(f"Expected {path} to have 3 axes, but got shape {tuple(voxels.shape)}.")
    if voxels.dtype.kind not in "biuf":
        raise ValueError(f"Expected {path} to hold real numbers, but got dtype {voxels.dtype}.")
    volume = Volume(path, voxels, np.asarray(image.affine, dtype=np.float64))
    _check_voxel_size(volume, image.header)
    return volume


def read_mask(path: str | os.PathLike[str], ignore_label: int | None = None) -> Volume:
    """Read a binary mask, of any dtype, as uint8: 0 background, 1 lesion and, with ``ignore_label``, 2 not scored.

    Source: ours. Nothing is rounded or thresholded: 0.999 is an error.

    Args:
        path: as in ``read_volume``.
        ignore_label: the value of voxels that are not scored; None allows 0 and 1 only.

    Raises:
        ValueError: as ``read_volume``; a value is another one, or NaN.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     nib.save(nib.Nifti1Image(np.array([[[0.0, 1, 7]]]), np.eye(4)), f"{root}/a.nii")
        ...     read_mask(f"{root}/a.nii", ignore_label=7).voxels
        array([[[0, 1, 2]]], dtype=uint8)
    """
    volume = read_volume(path)
    voxels = volume.voxels
    ignored = np.zeros(voxels.shape, bool) if ignore_label is None else voxels == ignore_label
    odd = (voxels != 0) & (voxels != 1) & ~ignored
    if odd.any():
        allowed = "0 and 1" if ignore_label is None else f"0, 1 and {ignore_label}"
        raise ValueError(f"Expected {path} to hold {allowed} only, but got {_describe(voxels, odd)}")
    return Volume(volume.path, np.where(ignored, np.uint8(2), (voxels == 1).astype(np.uint8)), volume.affine)


def read_probability(path: str | os.PathLike[str]) -> Volume:
    """Read a map of probabilities, in [0, 1], as float32 or float64.

    Source: ours.

    Args:
        path: as in ``read_volume``.

    Raises:
        ValueError: as ``read_volume``; a value is outside [0, 1], or NaN.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     nib.save(nib.Nifti1Image(np.full((1, 1, 1), 0.5), np.eye(4)), f"{root}/a.nii")
        ...     read_probability(f"{root}/a.nii").voxels
        array([[[0.5]]])
    """
    volume = read_volume(path)
    voxels = volume.voxels.astype(np.result_type(volume.voxels.dtype, np.float32), copy=False)
    odd = ~((voxels >= 0) & (voxels <= 1))
    if odd.any():
        raise ValueError(f"Expected {path} to hold probabilities in [0, 1], but got {_describe(voxels, odd)}")
    return Volume(volume.path, voxels, volume.affine)


def check_same_grid(first: Volume, second: Volume) -> None:
    """Refuse two volumes whose voxels are not at the same places, to a tenth of a voxel.

    Raises:
        ValueError: shapes differ, or affines put a corner elsewhere.

    Example:
        >>> volume = Volume(Path("a.nii"), np.zeros((2, 2, 2)), np.eye(4))
        >>> check_same_grid(volume, Volume(Path("b.nii"), np.zeros((2, 2, 3)), np.eye(4)))
        Traceback (most recent call last):
        ValueError: Expected b.nii to have the shape of a.nii, (2, 2, 2), but got (2, 2, 3).
    """
    if first.shape != second.shape:
        raise ValueError(
            f"Expected {second.path} to have the shape of {first.path}, {first.shape}, but got {second.shape}."
        )
    check_headers_agree(first.path, first, second.path, second)


def _check_voxel_size(volume: Volume, header: Any) -> None:
    unit = header.get_xyzt_units()[0]
    if unit not in ("mm", "unknown"):
        raise ValueError(f"Expected {volume.path} to be in mm, but got {unit}.")
    if not (np.isfinite(volume.affine).all() and 0 < volume.voxel_mm3 < math.inf):
        raise ValueError(
            f"Expected the affine of {volume.path} to give voxels a size, but got {volume.affine.tolist()}."
        )
    sizes, stated = volume.spacing_mm, tuple(float(size) for size in header.get_zooms()[:3])
    if not np.allclose(sizes, stated, rtol=_SIZE_TOLERANCE, atol=0):
        raise ValueError(
            f"Expected {volume.path} to state one voxel size, but got {_rounded(sizes)} mm from its affine and "
            f"{_rounded(stated)} mm from pixdim."
        )


def _rounded(sizes: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(size, 4) for size in sizes)


def _describe(voxels: NDArray[Any], odd: NDArray[np.bool_]) -> str:
    """The first odd value, where it is and how many there are."""
    place = tuple(int(index) for index in np.argwhere(odd)[0])
    # str, as formatting would show a float32 with the digits of a double
    return f"{voxels[place]!s} at voxel {place}, {int(odd.sum())} such voxels in all."
