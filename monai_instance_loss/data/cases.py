"""Reading of the folder layout of the WMH Segmentation Challenge."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from monai_instance_loss._folders import natural_key, walk_files

__all__ = ["WMH_NAME", "check_files", "check_same_grid", "find_wmh_cases"]

WMH_NAME = "wmh.nii.gz"

# A tenth of the smallest voxel: headers store float32 and quaternions, so equal grids differ by far less.
_GRID_TOLERANCE = 0.1


def find_wmh_cases(root: str | os.PathLike[str], *, labelled: bool = True) -> list[dict[str, str]]:
    """Find the cases of a data set in the layout of the WMH Segmentation Challenge.

    Source: layout of https://wmh.isi.uu.nl. A case is a folder at any depth, such as ``Utrecht/0`` or
    ``Amsterdam/GE3T/100``, with ``wmh.nii.gz`` next to a folder ``pre``. Linked folders are followed. Only headers are
    read.

    Args:
        root: folder of the data set.
        labelled: False finds cases by their ``pre/FLAIR.nii.gz`` and leaves labels alone, for inference.

    Returns:
        One entry a case with the keys "case" (folder below ``root``), "flair", "t1" and, if labelled, "wmh" (paths), in
        natural order: ``Utrecht/2`` before ``Utrecht/10``.

    Raises:
        FileNotFoundError: when ``root`` is missing, holds no case or a link that leads nowhere, or a case lacks its
            FLAIR or T1.
        OSError: when a folder cannot be read.
        ValueError: when a file is no readable NIfTI volume, the grids of one case differ, or links lead to one case
            twice.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     find_wmh_cases(root)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        FileNotFoundError: Expected `root` to hold cases (`<case>/wmh.nii.gz` next to a folder `pre`), but got ...
    """
    folder = Path(root)
    if not folder.is_dir():
        raise FileNotFoundError(f"Expected `root` to be an existing folder, but got {folder}.")
    files = walk_files(folder)
    dead = next((path for path in files if path.is_symlink() and not path.exists()), None)
    if dead is not None:
        raise FileNotFoundError(f"Expected every link in {folder} to lead somewhere, but got {dead}, which does not.")
    if labelled:
        found = [path.parent for path in files if path.name == WMH_NAME and (path.parent / "pre").is_dir()]
        wanted = f"`<case>/{WMH_NAME}` next to a folder `pre`"
    else:
        found = [path.parent.parent for path in files if path.name == "FLAIR.nii.gz" and path.parent.name == "pre"]
        wanted = "`<case>/pre/FLAIR.nii.gz`"
    if not found:
        raise FileNotFoundError(f"Expected `root` to hold cases ({wanted}), but got none in {folder}.")
    _check_found_once(found)
    cases = [_read_case(folder, path, labelled) for path in found]
    return sorted(cases, key=lambda case: natural_key(case["case"]))


def _check_found_once(found: list[Path]) -> None:
    """Refuse a case with two names, of which a split could put one into training and one into validation."""
    first: dict[Path, Path] = {}
    for path in found:
        if (other := first.setdefault(path.resolve(), path)) is not path:
            raise ValueError(f"Expected each case once, but got {other} and {path}, which are one folder by links.")


def _read_case(root: Path, case: Path, labelled: bool) -> dict[str, str]:
    files = {"flair": case / "pre" / "FLAIR.nii.gz", "t1": case / "pre" / "T1.nii.gz"}
    if labelled:
        files["wmh"] = case / WMH_NAME
    check_files(str(case), list(files.values()))
    name = case.relative_to(root).as_posix()
    name = root.resolve().name if name == "." else name
    return {"case": name} | {key: str(path) for key, path in files.items()}


def check_files(case: str, files: Sequence[Path]) -> None:
    """Refuse a case whose volumes are not all there, or not on one grid.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is no readable NIfTI volume, or the grids differ.
    """
    for path in files:
        if not path.is_file():
            raise FileNotFoundError(f"Expected the case {case} to have {path}, but got no such file.")
    first = _read_header(files[0])
    for path in files[1:]:
        check_same_grid(files[0], first, path, _read_header(path))


def _read_header(path: Path) -> Any:
    try:
        image = nib.load(path)
    except (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"Expected {path} to be a readable NIfTI volume, but got: {error}") from error
    if len(image.shape) != 3:
        raise ValueError(f"Expected {path} to have 3 axes, but got shape {tuple(image.shape)}.")
    return image


def check_same_grid(path_a: Path, image_a: Any, path_b: Path, image_b: Any) -> None:
    """Refuse two volumes whose voxels are not at the same places, to a tenth of a voxel.

    Raises:
        ValueError: shapes differ, or affines put a corner elsewhere.
    """
    same = tuple(image_a.shape) == tuple(image_b.shape)
    if same:
        corners = np.array([(*c, 1) for c in product(*[(0, n - 1) for n in image_a.shape])], dtype=np.float64)
        apart_mm = np.abs(corners @ (image_a.affine - image_b.affine).T).max()
        same = bool(apart_mm <= _GRID_TOLERANCE * np.linalg.norm(image_a.affine[:3, :3], axis=0).min())
    if not same:
        raise ValueError(
            "Expected the volumes of one case to share one grid, but got "
            f"{path_a} with shape {tuple(image_a.shape)} and affine {image_a.affine.tolist()}, and "
            f"{path_b} with shape {tuple(image_b.shape)} and affine {image_b.affine.tolist()}."
        )
