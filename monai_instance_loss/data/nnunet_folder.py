"""Writing of cases as a raw data set of nnU-Net."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from monai_instance_loss._checks import checked_count
from monai_instance_loss._whole_file import whole_file

__all__ = ["write_nnunet_dataset"]

_CHANNELS = ("flair", "t1")


def write_nnunet_dataset(
    nnunet_raw: str | os.PathLike[str],
    cases: Sequence[Mapping[str, str]],
    *,
    test_cases: Sequence[Mapping[str, str]] = (),
    dataset_id: int = 1,
    name: str = "WMH",
    ignore_label: int | None = 2,
) -> Path:
    """Copy cases into a raw data set of nnU-Net v2: FLAIR and T1 as its two channels, lesions as label 1.

    Source: nnU-Net v2, ``documentation/dataset_format.md``. ``Utrecht/0`` becomes ``Utrecht_0``, as the evaluation
    calls it too. Training cases lie in ``imagesTr`` and ``labelsTr``, test cases in ``imagesTs`` and ``labelsTs``.
    ``dataset.json`` comes last; without it nnU-Net does not take the folder for a data set.

    Args:
        nnunet_raw: nnU-Net's folder of raw data, the variable ``nnUNet_raw``; made when missing.
        cases: training cases, as ``wmh_cases`` returns them.
        test_cases: cases that nnU-Net does not train on.
        dataset_id: number of the data set, 1 to 999.
        name: what follows the number in the name of the data set.
        ignore_label: 2 declares the label of voxels to leave out, the other pathology of the challenge's masks;
            None, for cases without it, declares none.

    Returns:
        The folder of the data set, such as ``Dataset001_WMH``.

    Raises:
        TypeError: ``dataset_id`` is no integer.
        ValueError: no case, two of one name, a number or an ignore label that nnU-Net does not take, or a mask with
            another value than 0, 1 and ``ignore_label``.
        FileExistsError: the folder of the data set exists, or another one of its number.

    Example:
        >>> import tempfile
        >>> from monai_instance_loss.data import wmh_cases
        >>> options = dict(cases_per_site=1, sites=("GE3T",), spacing_mm=(4, 4, 6), progress=False)
        >>> with tempfile.TemporaryDirectory() as root:
        ...     cases = wmh_cases(f"{root}/wmh", **options)
        ...     folder = write_nnunet_dataset(f"{root}/raw", cases)
        ...     sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.gz"))
        ['imagesTr/GE3T_0_0000.nii.gz', 'imagesTr/GE3T_0_0001.nii.gz', 'labelsTr/GE3T_0.nii.gz']
    """
    number = checked_count("dataset_id", dataset_id, minimum=1)
    if number > 999:
        raise ValueError(f"Expected `dataset_id` to be 999 or less, but got {number}.")
    if ignore_label not in (None, 2):
        raise ValueError(f"Expected `ignore_label` to be None or 2, the highest label, but got {ignore_label!r}.")
    if not cases:
        raise ValueError("Expected `cases` to hold a case, but got none.")
    names = [_name(case) for case in (*cases, *test_cases)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"Expected each case to have a name of its own, but got {twice} twice.")
    raw = Path(nnunet_raw)
    other = next(raw.glob(f"Dataset{number:03d}_*"), None)
    if other is not None:
        raise FileExistsError(f"Expected {raw} to hold no data set {number}, but got {other}.")
    for case in (*cases, *test_cases):
        _check_mask(case["wmh"], ignore_label)
    folder = raw / f"Dataset{number:03d}_{name}"
    for part, group in (("Tr", cases), ("Ts", test_cases)):
        for case in group:
            _copy(case, folder / f"images{part}", folder / f"labels{part}")
    labels = {"background": 0, "lesion": 1} | ({} if ignore_label is None else {"ignore": ignore_label})
    description = {
        "channel_names": {str(index): channel.upper() for index, channel in enumerate(_CHANNELS)},
        "labels": labels,
        "numTraining": len(cases),
        "file_ending": ".nii.gz",
    }
    with whole_file(folder / "dataset.json") as temporary:
        temporary.write_text(json.dumps(description, indent=2), encoding="utf-8")
    return folder


def _name(case: Mapping[str, str]) -> str:
    return case["case"].replace("/", "_")


def _check_mask(path: str, ignore_label: int | None) -> None:
    known = [0, 1] if ignore_label is None else [0, 1, ignore_label]
    other = np.setdiff1d(np.asanyarray(nib.load(path).dataobj), known)
    if other.size:
        raise ValueError(f"Expected {path} to hold the values {known}, but got {other[0]:g}.")


def _copy(case: Mapping[str, str], images: Path, labels: Path) -> None:
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    copies = {images / f"{_name(case)}_{index:04d}.nii.gz": case[channel] for index, channel in enumerate(_CHANNELS)}
    for path, source in {**copies, labels / f"{_name(case)}.nii.gz": case["wmh"]}.items():
        with whole_file(path) as temporary:
            shutil.copyfile(source, temporary)
