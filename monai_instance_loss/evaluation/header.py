"""What a NIfTI header says of a volume: checked, and compared with another, before any voxel is read."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from monai_instance_loss.data.cases import check_same_grid as check_headers_agree

__all__ = ["UNREADABLE", "Grid", "Header", "check_same_grid", "open_volume", "read_header"]

UNREADABLE = (
    ImageFileError, HeaderDataError, WrapStructError, OSError, EOFError, ValueError, KeyError, OverflowError,
    zlib.error,
)  # fmt: skip
# sizeof_hdr, the first field of a header, tells NIfTI-2 from NIfTI-1
_NIFTI2 = tuple((540).to_bytes(4, order) for order in ("little", "big"))
_LONGEST_HEADER = 540
# headers store float32; a wrong voxel size is off by far more
_SIZE_TOLERANCE = 0.01
# what deflate, the method of gzip, can shrink at most: 258 bytes to 2 bits
_DEFLATE_RATIO = 1032
# extensions of a header are kilobytes of text
_MOST_BEFORE = 2**26


class Grid:
    """A grid of voxels, known by its affine from voxel indices to mm."""

    affine: NDArray[np.float64]

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Voxel size along each axis in mm."""
        return tuple(map(float, voxel_sizes(self.affine)))

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel in mm3."""
        x, y, z = self.affine[:3, :3].T
        return float(abs(x @ np.cross(y, z)))


@dataclass(frozen=True, eq=False)
class Header(Grid):
    """A volume of three axes, without its voxels.

    Attributes:
        path: its file.
        shape: number of voxels along each axis.
        affine: float64 (4, 4), from voxel indices to the scanner's coordinates in mm (right, anterior, superior).
        dtype: of the numbers as they are stored.
        slope: a value is a stored number times ``slope`` plus ``inter``.
        inter: see ``slope``.
        offset: where in the file, unpacked, the voxels begin.
        remark: what is odd about it, though no error; else empty.
    """

    path: Path
    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    dtype: np.dtype[Any]
    slope: float
    inter: float
    offset: int
    remark: str


class _Located(Protocol):
    @property
    def path(self) -> Path: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def affine(self) -> NDArray[np.float64]: ...


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read the header of a NIfTI file with three axes, in mm, of any real numbers; the voxels are left alone.

    Source: ours, on nibabel.

    Args:
        path: a ``.nii`` or ``.nii.gz`` file.

    Raises:
        ValueError: the file is missing, corrupt or too small for its voxels, has not three axes, holds no real numbers,
            is not in mm, or gives voxels no size or two.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     nib.save(nib.Nifti1Image(np.zeros((2, 3, 4), np.uint8), np.diag([1, 1, 3, 1])), f"{root}/a.nii.gz")
        ...     header = read_header(f"{root}/a.nii.gz")
        >>> header.shape, header.spacing_mm, header.voxel_mm3, header.dtype
        ((2, 3, 4), (1.0, 1.0, 3.0), 3.0, dtype('uint8'))
    """
    path = Path(path)
    try:
        with open_volume(path) as stream:
            start = stream.read(_LONGEST_HEADER)
        size, kind = (540, nib.Nifti2Header) if start[:4] in _NIFTI2 else (348, nib.Nifti1Header)
        fields = kind(start[:size])
        if fields["magic"].item() != fields.single_magic:
            raise ValueError("a header whose voxels are in another file")
        slope, inter = fields.get_slope_inter()
        header = Header(
            path=path,
            shape=tuple(map(int, fields.get_data_shape())),
            affine=np.asarray(fields.get_best_affine(), dtype=np.float64),
            dtype=fields.get_data_dtype(),
            slope=1.0 if slope is None else slope,
            inter=0.0 if inter is None else inter,
            offset=int(fields["vox_offset"]) or fields.single_vox_offset,
            remark=_remark(path, fields),
        )
        unit = fields.get_xyzt_units()[0]
    except UNREADABLE as error:
        raise ValueError(f"Expected {path} to be a readable NIfTI file, but got: {error}") from error
    if len(header.shape) != 3 or min(header.shape) < 1:
        raise ValueError(f"Expected {path} to have 3 axes, but got shape {header.shape}.")
    if header.dtype.kind not in "biuf":
        raise ValueError(f"Expected {path} to hold real numbers, but got dtype {header.dtype}.")
    _check_size(header)
    _check_voxel_size(header, unit, fields.get_zooms())
    return header


def check_same_grid(first: _Located, second: _Located) -> None:
    """Refuse two volumes whose voxels are not at the same places, to a tenth of a voxel.

    Args:
        first: a ``Header`` or ``Volume``.
        second: the same.

    Raises:
        ValueError: shapes differ, or affines put a corner elsewhere.

    Example:
        >>> from monai_instance_loss.evaluation.loading import Volume
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


def open_volume(path: Path) -> BinaryIO:
    """The bytes of a NIfTI file, unpacked as they are read.

    Raises:
        OSError: it is missing, or no file: a pipe would be waited for.
    """
    if path.exists() and not path.is_file():
        raise OSError("no regular file")
    return gzip.open(path) if path.name.endswith(".gz") else open(path, "rb")  # type: ignore[return-value]


def _check_size(header: Header) -> None:
    """A file cannot hold more than its size allows, which costs less to see than to find out by unpacking."""
    if not 0 <= header.offset <= _MOST_BEFORE:
        raise ValueError(
            f"Expected {header.path} to begin its voxels within {_MOST_BEFORE} bytes, but got a vox_offset of "
            f"{header.offset}."
        )
    size = header.path.stat().st_size
    ratio = _DEFLATE_RATIO if header.path.name.endswith(".gz") else 1
    if header.offset + math.prod(header.shape) * header.dtype.itemsize > size * ratio:
        raise ValueError(
            f"Expected {header.path} to be a readable NIfTI file, but got: {size} bytes, too few for a volume of shape "
            f"{header.shape} and dtype {header.dtype}"
        )


def _check_voxel_size(header: Header, unit: str, zooms: tuple[float, ...]) -> None:
    if unit not in ("mm", "unknown"):
        raise ValueError(f"Expected {header.path} to be in mm, but got {unit}.")
    if not (np.isfinite(header.affine).all() and 0 < header.voxel_mm3 < math.inf):
        raise ValueError(
            f"Expected the affine of {header.path} to give voxels a size, but got {header.affine.tolist()}."
        )
    sizes, stated = header.spacing_mm, tuple(float(size) for size in zooms[:3])
    if not np.allclose(sizes, stated, rtol=_SIZE_TOLERANCE, atol=0):
        raise ValueError(
            f"Expected {header.path} to state one voxel size, but got {_rounded(sizes)} mm from its affine and "
            f"{_rounded(stated)} mm from pixdim."
        )


def _remark(path: Path, fields: Any) -> str:
    """Programs differ in which of qform and sform they believe: said where that moves a voxel by more than a half."""
    if not (fields["qform_code"] > 0 and fields["sform_code"] > 0):
        return ""
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(fields.get_data_shape()[:3]) - 1)
    try:
        apart = apply_affine(fields.get_qform(), corners) - apply_affine(fields.get_sform(), corners)
    except (HeaderDataError, ValueError) as error:
        return f"{path}: the qform cannot be read ({error}); the sform is used."
    apart_mm = np.linalg.norm(apart, axis=-1).max()
    if apart_mm <= 0.5 * voxel_sizes(fields.get_sform()).min():
        return ""
    return f"{path}: qform and sform put a voxel {apart_mm:.3g} mm apart; the sform is used."


def _rounded(sizes: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(size, 4) for size in sizes)
