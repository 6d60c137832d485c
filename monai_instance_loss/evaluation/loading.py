"""Masks and probability maps from NIfTI files, refused with a reason where they are not what they should be."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from monai_instance_loss.evaluation.header import UNREADABLE, Grid, Header, open_volume, read_header
from monai_instance_loss.evaluation.odd_values import IGNORED, OddValues

__all__ = ["IGNORED", "Volume", "read_labels", "read_mask", "read_probability", "read_volume"]

# voxels that are unpacked, scaled and checked at a time
_CHUNK = 2**18
# what may follow the voxels: padding of some writers, read to verify the checksum behind it
_MOST_BEHIND = 2**16
_WHITE = 255


@dataclass(frozen=True, eq=False)
class Volume(Grid):
    """A volume and its grid.

    Attributes:
        path: file it was read from.
        voxels: (X, Y, Z).
        affine: float64 (4, 4), from voxel indices to the scanner's coordinates in mm (right, anterior, superior).
        labels: the whole numbers above 0 in the file, where they were read as labels.
    """

    path: Path
    voxels: NDArray[Any]
    affine: NDArray[np.float64]
    labels: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of voxels along each axis."""
        return tuple(self.voxels.shape)


def read_volume(file: str | os.PathLike[str] | Header, dtype: DTypeLike | None = None) -> Volume:
    """Read a NIfTI file with three axes, in mm; the values are any real numbers.

    Source: ours, on nibabel. No more is unpacked than the header allows, and the checksum is verified. Stored whole
    numbers that slope and intercept, which are float32, bring to a whole number but for rounding are that number:
    32767 times 1/32767 is 1.

    Args:
        file: a ``.nii`` or ``.nii.gz`` file, or what ``read_header`` says of it.
        dtype: of the voxels; None is that of the values, float64 where they are scaled.

    Raises:
        ValueError: as ``read_header``; the file is cut off or corrupt, or goes on behind its voxels.

    Example:
        >>> import tempfile
        >>> import nibabel as nib
        >>> with tempfile.TemporaryDirectory() as root:
        ...     nib.save(nib.Nifti1Image(np.zeros((2, 3, 4), np.uint8), np.diag([1, 1, 3, 1])), f"{root}/a.nii.gz")
        ...     volume = read_volume(f"{root}/a.nii.gz")
        >>> volume.shape, volume.spacing_mm, volume.voxel_mm3
        ((2, 3, 4), (1.0, 1.0, 3.0), 3.0)
    """
    header = file if isinstance(file, Header) else read_header(file)
    to = _scaled(b"", header).dtype.newbyteorder("=") if dtype is None else np.dtype(dtype)
    return _read(header, to, lambda values, start: values)


def read_mask(file: str | os.PathLike[str] | Header, ignore_label: int | None = None) -> Volume:
    """Read a binary mask, of any dtype, as uint8: 0 background, 1 lesion and, with ``ignore_label``, 2 not scored.

    Source: ours. Nothing is rounded or thresholded: 0.999 is an error. Where there is no 1, 255 is lesion, as image
    editors write it; ``labels`` then has 255.

    Args:
        file: as in ``read_volume``.
        ignore_label: the value of voxels that are not scored; None allows 0 and 1 only.

    Raises:
        ValueError: as ``read_volume``; a value is another one, or NaN. It is ``LabelMapError`` where the file is a map
            of labels.

    Example:
        >>> import tempfile
        >>> import nibabel as nib
        >>> with tempfile.TemporaryDirectory() as root:
        ...     nib.save(nib.Nifti1Image(np.array([[[0.0, 1, 7]]]), np.eye(4)), f"{root}/a.nii")
        ...     read_mask(f"{root}/a.nii", ignore_label=7).voxels
        array([[[0, 1, 2]]], dtype=uint8)
    """
    header = file if isinstance(file, Header) else read_header(file)
    odd, bright = OddValues(header), OddValues(header)
    has_ones = False

    def classes(values: NDArray[Any], start: int) -> NDArray[Any]:
        nonlocal has_ones
        lesion = values == 1
        has_ones = has_ones or bool(lesion.any())
        ignored = np.zeros_like(lesion) if ignore_label is None else values == ignore_label
        white = (values == _WHITE) & ~ignored
        bright.note(values, start, white)
        odd.note(values, start, ~(lesion | ignored | white | (values == 0)))
        return np.where(ignored, np.uint8(2), (lesion | white).astype(np.uint8))

    volume = _read(header, np.dtype(np.uint8), classes)
    if has_ones or odd.count:
        odd.join(bright)
        if has_ones and odd.labels:
            odd.labels.add(1)
    odd.check("0 and 1 only" if ignore_label is None else f"0, 1 and {ignore_label} only", binary=True)
    return replace(volume, labels=(_WHITE,)) if bright.count else volume


def read_labels(file: str | os.PathLike[str] | Header, ignore_label: int | None = None) -> Volume:
    """Read a map of labels, of any dtype, as uint16: 0 background, ``IGNORED`` where a voxel is not scored.

    Source: ours. Nothing is rounded: 1.5 is an error.

    Args:
        file: as in ``read_volume``.
        ignore_label: the value of voxels that are not scored, if there is one.

    Raises:
        ValueError: as ``read_volume``; a value that is scored is no whole number from 0 to 65534.

    Example:
        >>> import tempfile
        >>> import nibabel as nib
        >>> with tempfile.TemporaryDirectory() as root:
        ...     nib.save(nib.Nifti1Image(np.array([[[0.0, 1, 4]]]), np.eye(4)), f"{root}/a.nii")
        ...     volume = read_labels(f"{root}/a.nii")
        >>> volume.voxels, volume.labels
        (array([[[0, 1, 4]]], dtype=uint16), (1, 4))
    """
    header = file if isinstance(file, Header) else read_header(file)
    odd = OddValues(header)
    counts = np.zeros(IGNORED + 1, dtype=np.int64)

    def labels(values: NDArray[Any], start: int) -> NDArray[Any]:
        ignored = np.zeros(values.shape, bool) if ignore_label is None else values == ignore_label
        fits = (values >= 0) & (values < IGNORED)
        whole = np.where(fits, values, 0).astype(np.uint16)
        odd.note(values, start, ~(ignored | (fits & (whole == values))))
        whole[ignored] = IGNORED
        counts[:] += np.bincount(whole, minlength=IGNORED + 1)
        return whole

    volume = _read(header, np.dtype(np.uint16), labels)
    odd.check(f"whole numbers from 0 to {IGNORED - 1}")
    return replace(volume, labels=tuple(map(int, np.flatnonzero(counts[1:IGNORED]) + 1)))


def read_probability(file: str | os.PathLike[str] | Header) -> Volume:
    """Read a map of probabilities, in [0, 1], as float32 or float64.

    Source: ours.

    Args:
        file: as in ``read_volume``.

    Raises:
        ValueError: as ``read_volume``; a value is outside [0, 1], or NaN.

    Example:
        >>> import tempfile
        >>> import nibabel as nib
        >>> with tempfile.TemporaryDirectory() as root:
        ...     nib.save(nib.Nifti1Image(np.full((1, 1, 1), 0.5), np.eye(4)), f"{root}/a.nii")
        ...     read_probability(f"{root}/a.nii").voxels
        array([[[0.5]]])
    """
    header = file if isinstance(file, Header) else read_header(file)
    odd = OddValues(header)

    def checked(values: NDArray[Any], start: int) -> NDArray[Any]:
        odd.note(values, start, ~((values >= 0) & (values <= 1)))
        return values

    volume = _read(header, np.result_type(_scaled(b"", header).dtype, np.float32), checked)
    odd.check("probabilities in [0, 1]")
    return volume


def _read(header: Header, dtype: np.dtype[Any], convert: Callable[[NDArray[Any], int], NDArray[Any]]) -> Volume:
    """The voxels of a file, a chunk at a time; ``convert`` gets values and the number of the first of them."""
    try:
        total = math.prod(header.shape)
        voxels = np.empty(total, dtype)
        with open_volume(header.path) as stream:
            stream.seek(header.offset)
            for start in range(0, total, _CHUNK):
                stop = min(start + _CHUNK, total)
                raw = stream.read((stop - start) * header.dtype.itemsize)
                if len(raw) < (stop - start) * header.dtype.itemsize:
                    raise EOFError(f"it ends before its {total} voxels do")
                voxels[start:stop] = convert(_scaled(raw, header), start)
            goes_on = len(stream.read(_MOST_BEHIND + 1)) > _MOST_BEHIND
    except (*UNREADABLE, MemoryError) as error:
        raise ValueError(f"Expected {header.path} to be a readable NIfTI file, but got: {error}") from error
    if goes_on:
        raise ValueError(
            f"Expected {header.path} to end with its voxels, but got more than {_MOST_BEHIND} bytes behind them."
        )
    return Volume(header.path, voxels.reshape(header.shape, order="F"), header.affine)


def _scaled(raw: bytes, header: Header) -> NDArray[Any]:
    stored = np.frombuffer(raw, header.dtype)
    if (header.slope, header.inter) == (1, 0):
        return stored
    values = stored * np.result_type(header.dtype, np.float64).type(header.slope) + header.inter
    if stored.dtype.kind == "f":
        return values
    whole = np.rint(values)
    rounding = np.finfo(np.float32).eps * (np.abs(values - header.inter) + abs(header.inter))
    return np.where(np.abs(values - whole) <= rounding, whole, values)
