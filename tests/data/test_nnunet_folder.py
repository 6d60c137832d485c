"""Cases as a raw data set of nnU-Net."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_instance_loss.data import find_wmh_cases, write_nnunet_dataset


@pytest.fixture
def cases(tmp_path):
    """Two cases of one number at two sites; the first has a voxel of other pathology."""
    for site, highest in (("Utrecht", 2), ("GE3T", 1)):
        for name, value in (("pre/FLAIR", 5), ("pre/T1", 6), ("wmh", highest)):
            path = tmp_path / "wmh" / site / "0" / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            voxels = np.zeros((2, 3, 4), np.uint8)
            voxels[0, 0, 0] = value
            nib.save(nib.Nifti1Image(voxels, np.diag([1, 1, 3, 1])), path)
    return {case["case"]: case for case in find_wmh_cases(tmp_path / "wmh")}


def test_the_folder_as_nnunet_wants_it(cases, tmp_path):
    train, test = cases["Utrecht/0"], cases["GE3T/0"]
    folder = write_nnunet_dataset(tmp_path / "raw", [train], test_cases=[test], dataset_id=7, name="Lesions")
    assert folder == tmp_path / "raw" / "Dataset007_Lesions"
    copies = {
        "imagesTr/Utrecht_0_0000.nii.gz": train["flair"],
        "imagesTr/Utrecht_0_0001.nii.gz": train["t1"],
        "labelsTr/Utrecht_0.nii.gz": train["wmh"],
        "imagesTs/GE3T_0_0000.nii.gz": test["flair"],
        "imagesTs/GE3T_0_0001.nii.gz": test["t1"],
        "labelsTs/GE3T_0.nii.gz": test["wmh"],
    }
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {*copies, "dataset.json"}
    for name, source in copies.items():
        assert (folder / name).read_bytes() == Path(source).read_bytes()
    assert json.loads((folder / "dataset.json").read_text()) == {
        "channel_names": {"0": "FLAIR", "1": "T1"},
        "labels": {"background": 0, "lesion": 1, "ignore": 2},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }


def test_without_an_ignore_label_there_is_none(cases, tmp_path):
    folder = write_nnunet_dataset(tmp_path / "raw", [cases["GE3T/0"]], ignore_label=None)
    assert json.loads((folder / "dataset.json").read_text())["labels"] == {"background": 0, "lesion": 1}
    with pytest.raises(ValueError, match=r"Expected .*wmh.nii.gz to hold the values \[0, 1\], but got 2"):
        write_nnunet_dataset(tmp_path / "other", [cases["Utrecht/0"]], ignore_label=None)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dataset_id": 1000}, ValueError, "Expected `dataset_id` to be 999 or less, but got 1000"),
        ({"dataset_id": True}, TypeError, "Expected `dataset_id` to be an integer, but got True"),
        ({"ignore_label": 1}, ValueError, "Expected `ignore_label` to be None or 2, the highest label, but got 1"),
    ],
)
def test_options_that_nnunet_does_not_take(cases, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        write_nnunet_dataset(tmp_path / "raw", list(cases.values()), **options)


def test_cases_that_are_none_or_one_twice(cases, tmp_path):
    with pytest.raises(ValueError, match="Expected `cases` to hold a case, but got none"):
        write_nnunet_dataset(tmp_path / "raw", [])
    case = cases["GE3T/0"]
    with pytest.raises(ValueError, match="Expected each case to have a name of its own, but got GE3T_0 twice"):
        write_nnunet_dataset(tmp_path / "raw", [case], test_cases=[case])


def test_a_number_that_is_taken(cases, tmp_path):
    write_nnunet_dataset(tmp_path / "raw", [cases["GE3T/0"]])
    with pytest.raises(FileExistsError, match=r"Expected .*raw to hold no data set 1, but got .*Dataset001_WMH"):
        write_nnunet_dataset(tmp_path / "raw", [cases["GE3T/0"]], name="Other")
