"""The cases of a data set to train on, whatever its layout."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from monai_instance_loss._folders import natural_key
from monai_instance_loss.data.cases import check_files, find_wmh_cases
from monai_instance_loss.data.layouts import LAYOUTS, SUFFIXES, DataSet, nifti_files
from monai_instance_loss.data.nnunet_layout import is_nnunet
from monai_instance_loss.data.opening import open_data_set
from monai_instance_loss.data.pairs import paths_in

__all__ = ["find_cases"]

_UNLABELLED = ("wmh", "nnunet", "csv")


def find_cases(
    root: str | os.PathLike[str], layout: str | None = None, *, labelled: bool = True
) -> list[dict[str, Any]]:
    """Find the scans and the labels of each case of a data set, for MONAI's ``LoadImaged``, which stacks channels.

    Source: ours. Only headers are read. The images of a case, in this order:

    - ``wmh`` (WMH Segmentation Challenge): FLAIR and T1.
    - ``nnunet``: ``imagesTr/<case>_0000``, ``_0001`` ..., with ``labelsTr``; unlabelled, ``imagesTs``.
    - ``brats`` (2023 on): t2f, t1n, t1c, t2w.
    - ``mslesseg``: FLAIR, T1, T2.
    - ``csv``: those in the column image, with ``;`` between them; labels are in the column reference.

    Args:
        root: folder of the data set, or the CSV file.
        layout: one of these; None detects it.
        labelled: False leaves labels alone, for inference; with the layouts wmh, nnunet and csv.

    Returns:
        One entry a case, in natural order, with the keys "case" (its name), "image" (paths, one a channel), if labelled
        "label" (path) and, where a CSV file has that column, "group".

    Raises:
        FileNotFoundError: there is no case, or a file of one is missing.
        OSError: a folder cannot be read.
        ValueError: the layout is unknown, not clear, or has no scans; there are several masks of a case; a file is no
            readable NIfTI volume; or the grids of one case differ.

    Example:
        >>> import tempfile
        >>> import nibabel as nib
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = Path(root, "dataset.json").write_text('{"labels": {"background": 0, "lesion": 1}}')
        ...     for name in ("imagesTr/a_0000", "imagesTr/a_0001", "labelsTr/a"):
        ...         Path(root, name).parent.mkdir(exist_ok=True)
        ...         nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)), f"{root}/{name}.nii.gz")
        ...     (case,) = find_cases(root)
        >>> case["case"], [Path(path).name for path in case["image"]], Path(case["label"]).name
        ('a', ['a_0000.nii.gz', 'a_0001.nii.gz'], 'a.nii.gz')
    """
    path = Path(root)
    if not labelled:
        layout = layout or _detected(path)
        if layout not in _UNLABELLED:
            raise ValueError(f"Expected `layout` without labels to be one of {_UNLABELLED}, but got {layout!r}.")
    if layout == "nnunet" and not labelled:
        found = [_entry(case, images) for case, images in _nnunet_images(path, ("imagesTs", "imagesTr")).items()]
        return _checked(found, path)
    # as a WMH case can be known by its scans alone
    if layout != "wmh":
        data = open_data_set(path, layout, part="labelsTr")
        if data.layout.name != "wmh":
            scans = _scans_of(data)
            return _checked([_case(data, case, scans.get(case, []), labelled) for case in data.masks], path)
    wmh = find_wmh_cases(path, labelled=labelled)
    return [
        {"case": case["case"], "image": [case["flair"], case["t1"]]} | ({"label": case["wmh"]} if labelled else {})
        for case in wmh
    ]


def _detected(path: Path) -> str:
    if path.is_file():
        return "csv"
    return "nnunet" if path.is_dir() and is_nnunet(path) else "wmh"


def _scans_of(data: DataSet) -> dict[str, list[Path]]:
    """The scans of each case."""
    if data.layout.name == "nnunet":
        return _nnunet_images(data.root.parent, (data.root.name.replace("labels", "images"),))
    if data.layout.name == "csv":
        return {case: paths_in(data.root, row.get("image", "")) for case, row in data.rows.items()}
    return {
        case: [_with_suffix(masks[0].parent / stem.format(case=case)) for stem in data.layout.images]
        for case, masks in data.masks.items()
    }


def _case(data: DataSet, case: str, images: list[Path], labelled: bool) -> dict[str, Any]:
    masks = data.masks[case]
    if labelled and len(masks) != 1:
        got = ", ".join(map(str, masks)) or "none"
        raise ValueError(f"Expected one mask of {case} in {data.root}, but got {got}.")
    if not images:
        known = [name for name, layout in LAYOUTS.items() if layout.images]
        raise ValueError(
            f"Expected {data.root} to have scans of {case}, but got none. Layouts with scans are {', '.join(known)}, "
            "nnunet and csv."
        )
    group = data.rows.get(case, {}).get("group")
    label = {"label": str(masks[0])} if labelled else {}
    return _entry(case, images) | label | ({} if group is None else {"group": group})


def _entry(case: str, images: list[Path]) -> dict[str, Any]:
    return {"case": case, "image": [str(path) for path in images]}


def _nnunet_images(root: Path, folders: tuple[str, ...]) -> dict[str, list[Path]]:
    """The images of each case, in the order of their channels, from the first of these folders that there is."""
    folder = next((root / name for name in folders if (root / name).is_dir()), None)
    if folder is None:
        raise FileNotFoundError(f"Expected {root} to have a folder {' or '.join(folders)}, but got none.")
    found: dict[str, dict[int, Path]] = {}
    for path in nifti_files(folder):
        case, _, channel = path.name.removesuffix(".gz").removesuffix(".nii").rpartition("_")
        if channel.isdecimal() and len(channel) == 4:
            found.setdefault(case, {})[int(channel)] = path
    if not found:
        raise FileNotFoundError(f"Expected {folder} to hold <case>_0000.nii.gz, but got none.")
    cases = sorted(found, key=natural_key)
    channels = max(map(len, found.values()))
    for case in cases:
        if sorted(found[case]) != list(range(channels)):
            got = ", ".join(path.name for path in found[case].values())
            raise FileNotFoundError(f"Expected {folder} to hold {channels} channels of {case}, but got {got}.")
    return {case: [path for _, path in sorted(found[case].items())] for case in cases}


def _with_suffix(stem: Path) -> Path:
    """A file with one of the suffixes of NIfTI, the usual one where there is none."""
    paths = [stem.with_name(stem.name + suffix) for suffix in reversed(SUFFIXES)]
    return next((path for path in paths if path.exists()), paths[0])


def _checked(cases: list[dict[str, Any]], root: Path) -> list[dict[str, Any]]:
    for case in cases:
        check_files(case["case"], [Path(path) for path in (*case["image"], *filter(None, [case.get("label")]))])
    channels = {len(case["image"]) for case in cases}
    if len(channels) > 1:
        raise ValueError(f"Expected the cases of {root} to have as many images each, but got {sorted(channels)}.")
    return cases
