"""Reading of the folder layout of the WMH Segmentation Challenge."""

from __future__ import annotations

import os
import re
import zlib
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

__all__ = ["WMH_NAME", "find_wmh_cases"]

WMH_NAME = "wmh.nii.gz"

# A tenth of the smallest voxel: headers store float32 and quaternions, so equal grids differ by far less.
_GRID_TOLERANCE = 0.1


def find_wmh_cases(root: str | os.PathLike[str], *, labelled: bool = True) -> list[dict[str, str]]:
    """Find the cases of a data set in the layout of the WMH Segmentation Challenge.

    Source: layout of https://wmh.isi.uu.nl. A case is a folder at any depth, such as ``Utrecht/0`` or
    ``Amsterdam/GE3T/100``, with ``wmh.nii.gz`` next to a folder ``pre``. Only headers are read.

    Args:
        root: folder of the data set.
        labelled: False finds cases by their ``pre/FLAIR.nii.gz`` and leaves labels alone, for inference.

    Returns:
        One entry a case with the keys "case" (folder below ``root``), "flair", "t1" and, if labelled, "wmh" (paths), in
        natural order: ``Utrecht/2`` before ``Utrecht/10``.

    Raises:
        FileNotFoundError: when ``root`` is missing, holds no case, or a case lacks its FLAIR or T1.
        ValueError: when a file is no readable NIfTI volume, or the grids of one case differ.

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
    if labelled:
        found = [path.parent for path in folder.rglob(WMH_NAME) if (path.parent / "pre").is_dir()]
        wanted = f"`<case>/{WMH_NAME}` next to a folder `pre`"
    else:
        found = [path.parent.parent for path in folder.rglob("FLAIR.nii.gz") if path.parent.name == "pre"]
        wanted = "`<case>/pre/FLAIR.nii.gz`"
    if not found:
        raise FileNotFoundError(f"Expected `root` to hold cases ({wanted}), but got none in {folder}.")
    cases = [_read_case(folder, path, labelled) for path in found]
    return sorted(cases, key=lambda case: natural_key(case["case"]))


def natural_key(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _read_case(root: Path, case: Path, labelled: bool) -> dict[str, str]:
    files = {"flair": case / "pre" / "FLAIR.nii.gz", "t1": case / "pre" / "T1.nii.gz"}
    if labelled:
        files["wmh"] = case / WMH_NAME
    for path in files.values():
        if not path.is_file():
            raise FileNotFoundError(f"Expected the case {case} to have {path}, but got no such file.")
    reference = _read_header(files["flair"])
    for path in list(files.values())[1:]:
        check_same_grid(files["flair"], reference, path, _read_header(path))
    name = case.relative_to(root).as_posix()
    name = root.resolve().name if name == "." else name
    return {"case": name} | {key: str(path) for key, path in files.items()}


def _read_header(path: Path) -> Any:
    try:
        image = nib.load(path)
    except (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"Expected {path} to be a readable NIfTI volume, but got: {error}") from error
    if len(image.shape) != 3:
        raise ValueError(f"Expected {path} to have 3 axes, but got shape {tuple(image.shape)}.")
    return image


def check_same_grid(path_a: Path, image_a: Any, path_b: Path, image_b: Any) -> None:
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
