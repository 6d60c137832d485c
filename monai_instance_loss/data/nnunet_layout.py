"""The layout of nnU-Net, and of the Medical Segmentation Decathlon: folders beside a ``dataset.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_instance_loss._folders import natural_key
from monai_instance_loss.data.layouts import LAYOUTS, SUFFIXES, DataSet, nifti_files

__all__ = ["is_nnunet", "open_nnunet"]

_DESCRIPTION = "dataset.json"
_LABEL_FOLDERS = ("labelsTr", "labelsTs")


def is_nnunet(folder: Path) -> bool:
    """Whether a folder, or that above one of labels, has a ``dataset.json`` that names labels.

    Raises:
        ValueError: there is one that is no JSON.
    """
    return _description_of(folder) is not None


def open_nnunet(root: Path, part: str | None = None) -> DataSet:
    """The masks of a data set, and the classes that it declares; see ``open_data_set``.

    Raises:
        FileNotFoundError: there is no ``dataset.json`` or no mask.
        ValueError: ``dataset.json`` is no JSON, its labels are no numbers, files are not NIfTI, or there are two
            folders of labels.
    """
    description = _description_of(root)
    if description is None:
        raise FileNotFoundError(
            f"Expected {root} to have the layout nnunet, with a {_DESCRIPTION} that names `labels`, but got none."
        )
    ending = description.get("file_ending", ".nii.gz")
    if ending not in SUFFIXES:
        raise ValueError(f"Expected the masks of {root} to be NIfTI files, but got the file_ending {ending!r}.")
    parts = [name for name in _LABEL_FOLDERS if (root / name).is_dir()]
    if part in parts:
        parts = [part]
    if len(parts) > 1:
        raise ValueError(f"Expected one folder of labels, but got {root / parts[0]} and {root / parts[1]}: name one.")
    folder = root / parts[0] if parts else root
    masks: dict[str, list[Path]] = {}
    for path in nifti_files(folder):
        if path.name.endswith(ending):
            masks.setdefault(path.name.removesuffix(ending), []).append(path)
    if not masks:
        raise FileNotFoundError(f"Expected {folder} to hold masks (`<case>{ending}`), but got none.")
    labels, ignore_label = _declared_labels(description["labels"], root)
    return DataSet(
        LAYOUTS["nnunet"],
        folder,
        {case: masks[case] for case in sorted(masks, key=natural_key)},
        labels,
        ignore_label,
        channels=len(description.get("channel_names") or description.get("modality") or ()),
    )


def _description_of(folder: Path) -> dict[str, Any] | None:
    """The ``dataset.json`` of nnU-Net in a folder, or beside one of labels; None where there is none."""
    paths = [folder / _DESCRIPTION]
    if folder.resolve().name in (*_LABEL_FOLDERS, "gt_segmentations"):
        paths.append(folder.resolve().parent / _DESCRIPTION)
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return None
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"Expected {path} to be JSON, but got: {error}") from error
    if not isinstance(description, dict) or not isinstance(description.get("labels"), dict):
        return None
    return description


def _declared_labels(declared: Mapping[str, Any], root: Path) -> tuple[dict[str, tuple[int, ...]], int | None]:
    """Values of each class, and that of voxels to ignore, from either version of ``dataset.json``."""
    labels: dict[str, tuple[int, ...]] = {}
    ignore_label = None
    for key, value in declared.items():
        # version 1, which is that of the Medical Segmentation Decathlon, has {"1": "lesion"}
        name, values = (str(value), key) if key.isdecimal() and isinstance(value, str) else (key, value)
        try:
            numbers = tuple(int(number) for number in (values if isinstance(values, list) else [values]))
        except (TypeError, ValueError):
            raise ValueError(
                f"Expected `labels` in the {_DESCRIPTION} of {root} to be whole numbers, but got {values!r}."
            ) from None
        if name == "ignore":
            (ignore_label,) = numbers
        elif numbers != (0,):
            labels[name] = numbers
    return labels, ignore_label
