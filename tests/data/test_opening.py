from __future__ import annotations

import json
from pathlib import Path

import pytest

from monai_instance_loss.data.layouts import LAYOUTS
from monai_instance_loss.data.opening import open_data_set


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


@pytest.mark.parametrize(
    ("layout", "names", "cases"),
    [
        ("flat", ["p10.nii.gz", "p2.nii", ".p3.nii", "notes.txt"], ["p2", "p10"]),
        ("wmh", ["Utrecht/0/wmh.nii.gz", "Utrecht/0/pre/FLAIR.nii.gz", "GE3T/5/wmh.nii"], ["GE3T/5", "Utrecht/0"]),
        (
            "bids",
            [
                "sub-02/anat/sub-02_space-T1w_label-lesion_mask.nii.gz",
                "sub-01/ses-1/anat/sub-01_ses-1_acq-3D_run-2_dseg.nii.gz",
                "sub-01/ses-1/anat/sub-01_ses-1_desc-brain_mask.nii.gz",
                "sub-01/ses-1/anat/sub-01_ses-1_FLAIR.nii.gz",
            ],
            ["sub-01_ses-1_run-2", "sub-02"],
        ),
        (
            "brats",
            [
                "BraTS-GLI-00002-000/BraTS-GLI-00002-000-seg.nii.gz",
                "BraTS-GLI-00002-000/BraTS-GLI-00002-000-t1n.nii.gz",
                "BraTS20_Training_001/BraTS20_Training_001_seg.nii",
            ],
            ["BraTS20_Training_001", "BraTS-GLI-00002-000"],
        ),
        ("brats", ["BraTS-GLI-00002-000-seg.nii.gz", "BraTS-GLI-00002-000-t1n.nii.gz"], ["BraTS-GLI-00002-000"]),
        (
            "mslesseg",
            ["train/P1/T2/P1_T2_MASK.nii.gz", "train/P1/T2/P1_T2_T1.nii.gz", "test/P54/P54_MASK.nii.gz"],
            ["P1_T2", "P54"],
        ),
    ],
)
def test_each_layout_is_detected(tmp_path, layout, names, cases):
    found = open_data_set(touch(tmp_path, *names))
    assert found.layout.name == layout
    assert list(found.masks) == cases
    assert all(len(paths) == 1 for paths in found.masks.values())
    assert open_data_set(tmp_path, layout).masks == found.masks
    assert found.describe() == f"layout {layout} ({LAYOUTS[layout].shown}): {len(cases)} cases in {tmp_path}"


def test_a_layout_that_is_not_clear_is_said_and_can_be_forced(tmp_path):
    touch(tmp_path, "P1/T1/P1_T1_MASK.nii.gz", "Utrecht/0/wmh.nii.gz")
    with pytest.raises(
        ValueError, match=r"both: .*wmh.nii.gz and .*P1_T1_MASK.nii.gz, which are wmh and mslesseg. Choose"
    ):
        open_data_set(tmp_path)
    assert list(open_data_set(tmp_path, "wmh").masks) == ["Utrecht/0"]


def test_a_mask_that_is_in_no_layout_is_not_lost(tmp_path):
    touch(tmp_path, "P1_T1_MASK.nii.gz", "P1_T1_FLAIR.nii.gz", "control.nii.gz")
    with pytest.raises(ValueError, match=r"but got both: .* and .*, which are flat and mslesseg"):
        open_data_set(tmp_path)


def test_a_forced_layout_that_is_wrong_says_what_it_is(tmp_path):
    touch(tmp_path, "P1/T1/P1_T1_MASK.nii.gz")
    message = r"in the layout brats \(`<case>/BraTS-\*-seg.nii.gz`\), but got none. Its files have the layout mslesseg."
    with pytest.raises(FileNotFoundError, match=message):
        open_data_set(tmp_path, "brats")
    with pytest.raises(
        FileNotFoundError, match=r"layout nnunet, with a dataset.json that names `labels`, but got none"
    ):
        open_data_set(tmp_path, "nnunet")
    with pytest.raises(ValueError, match=r"`layout` to be one of flat, wmh, .*, but got 'nnu'"):
        open_data_set(tmp_path, "nnu")
    with pytest.raises(FileNotFoundError, match=r"Expected an existing folder, but got .*nowhere"):
        open_data_set(tmp_path / "nowhere")


def nnunet(root: Path, labels: object, *folders: str, **more: object) -> Path:
    root.mkdir(exist_ok=True)
    (root / "dataset.json").write_text(json.dumps({"labels": labels, "file_ending": ".nii.gz", **more}))
    return touch(root, *(f"{folder}/a.nii.gz" for folder in folders))


@pytest.mark.parametrize(
    ("labels", "classes", "ignored"),
    [
        ({"background": 0, "edema": 1, "core": 2}, {"edema": (1,), "core": (2,)}, None),
        ({"background": 0, "whole": [1, 2, 3], "core": [2, 3], "ignore": 4}, {"whole": (1, 2, 3), "core": (2, 3)}, 4),
        # the Medical Segmentation Decathlon
        ({"0": "background", "1": "liver", "2": "cancer"}, {"liver": (1,), "cancer": (2,)}, None),
    ],
)
def test_nnunet_declares_its_classes(tmp_path, labels, classes, ignored):
    root = nnunet(tmp_path / "Dataset001", labels, "labelsTr", channel_names={"0": "FLAIR", "1": "T1"})
    for folder in (root, root / "labelsTr"):
        found = open_data_set(folder)
        assert (found.layout.name, found.root, list(found.masks)) == ("nnunet", root / "labelsTr", ["a"])
        assert (found.labels, found.ignore_label, found.channels) == (classes, ignored, 2)
    assert f"dataset.json, labels {', '.join(classes)}): 1 cases in " in found.describe()


def test_nnunet_with_two_folders_of_labels_asks_which(tmp_path):
    root = nnunet(tmp_path / "Dataset001", {"lesion": 1}, "labelsTr", "labelsTs")
    with pytest.raises(ValueError, match=r"one folder of labels, but got .*labelsTr and .*labelsTs: name one"):
        open_data_set(root)
    assert open_data_set(root / "labelsTs").root == root / "labelsTs"
    assert open_data_set(root, part="labelsTr").root == root / "labelsTr"


def test_nnunet_that_cannot_be_read(tmp_path):
    root = nnunet(tmp_path / "Dataset001", {"lesion": 1}, "labelsTr", file_ending=".png")
    with pytest.raises(ValueError, match=r"to be NIfTI files, but got the file_ending '.png'"):
        open_data_set(root)
    nnunet(root, {"lesion": "one"}, "labelsTr")
    with pytest.raises(ValueError, match=r"of .*Dataset001 to be whole numbers, but got 'one'"):
        open_data_set(root)
    (root / "dataset.json").write_text("{")
    with pytest.raises(ValueError, match=r"dataset.json to be JSON, but got: "):
        open_data_set(root)
    # that of another program is none
    (root / "dataset.json").write_text("[]")
    assert open_data_set(root / "labelsTr").layout.name == "flat"


def pairs(folder: Path, *lines: str) -> Path:
    path = folder / "pairs.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_csv_file_of_pairs(tmp_path):
    path = pairs(tmp_path, "case,prediction,reference,group", "b,,,", "a10,p.nii,r/a.nii.gz,X", "a2,p.nii,/abs/b.nii,")
    found = open_data_set(path)
    assert found.layout.name == "csv"
    assert found.masks == {"a2": [Path("/abs/b.nii")], "a10": [tmp_path / "r/a.nii.gz"], "b": []}
    assert found.rows["a10"] == {"case": "a10", "prediction": "p.nii", "reference": "r/a.nii.gz", "group": "X"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["case,mask", "a,b"], r"the columns case and reference, but got case, mask"),
        (["case,reference", "a,x", "a,y"], r"a case of its own, but got 'a' twice"),
        (["case,reference", ",x"], r"a case of its own, but got a row without one"),
        (["case,reference"], r"pairs.csv to hold cases, but got none"),
    ],
)
def test_a_csv_file_that_is_none_of_pairs(tmp_path, lines, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        open_data_set(pairs(tmp_path, *lines))
