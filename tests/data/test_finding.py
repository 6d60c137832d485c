from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_instance_loss.data import find_cases


def save(root: Path, *names: str, shape=(2, 3, 4)) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(np.zeros(shape, np.uint8), np.diag([1, 1, 3, 1])), path)
    return root


def nnunet(root: Path, *names: str) -> Path:
    save(root, *names)
    (root / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "lesion": 1}}))
    return root


CHANNELS = [f"{folder}/{case}_000{k}.nii.gz" for folder in ("imagesTr",) for case in ("p10", "p2") for k in (1, 0)]
LABELS = ["labelsTr/p2.nii.gz", "labelsTr/p10.nii.gz"]


@pytest.mark.parametrize("layout", [None, "nnunet"])
def test_nnunet(tmp_path, layout):
    root = nnunet(tmp_path, *CHANNELS, *LABELS, "labelsTs/t.nii.gz", "imagesTs/t_0000.nii.gz")
    first, second = find_cases(root, layout)
    assert first == {
        "case": "p2",
        "image": [str(root / "imagesTr/p2_0000.nii.gz"), str(root / "imagesTr/p2_0001.nii.gz")],
        "label": str(root / "labelsTr/p2.nii.gz"),
    }
    assert second["case"] == "p10"
    assert find_cases(root, layout, labelled=False) == [{"case": "t", "image": [str(root / "imagesTs/t_0000.nii.gz")]}]


def test_nnunet_without_a_channel(tmp_path):
    root = nnunet(tmp_path, *CHANNELS[:-1], *LABELS)
    with pytest.raises(FileNotFoundError, match=r"imagesTr to hold 2 channels of p2, but got p2_0001.nii.gz"):
        find_cases(root)
    (root / "imagesTr/p2_0001.nii.gz").unlink()
    with pytest.raises(ValueError, match=r"labelsTr to have scans of p2, but got none"):
        find_cases(root)


def test_grids_of_a_case_are_the_same(tmp_path):
    root = nnunet(tmp_path, *CHANNELS, *LABELS)
    save(root, "labelsTr/p10.nii.gz", shape=(2, 3, 5))
    with pytest.raises(ValueError, match=r"share one grid, but got .*p10_0000.nii.gz .* and .*labelsTr/p10.nii.gz"):
        find_cases(root)


def test_wmh(tmp_path):
    save(tmp_path, *(f"Utrecht/0/{name}.nii.gz" for name in ("pre/FLAIR", "pre/T1", "wmh")))
    case = tmp_path / "Utrecht/0"
    entry = {"case": "Utrecht/0", "image": [str(case / "pre/FLAIR.nii.gz"), str(case / "pre/T1.nii.gz")]}
    labelled = [entry | {"label": str(case / "wmh.nii.gz")}]
    assert find_cases(tmp_path) == find_cases(tmp_path, "wmh") == labelled
    assert find_cases(tmp_path, labelled=False) == [entry]


def test_brats_and_mslesseg(tmp_path):
    brats, ms = tmp_path / "brats", tmp_path / "ms"
    save(brats, *(f"BraTS-GLI-1-0/BraTS-GLI-1-0-{name}.nii.gz" for name in ("seg", "t1n", "t1c", "t2w", "t2f")))
    save(ms, *(f"P1/T2/P1_T2_{name}.nii.gz" for name in ("MASK", "FLAIR", "T1", "T2")))
    assert [Path(path).name[-10:-7] for path in find_cases(brats)[0]["image"]] == ["t2f", "t1n", "t1c", "t2w"]
    assert [Path(path).name for path in find_cases(ms)[0]["image"]] == [
        "P1_T2_FLAIR.nii.gz", "P1_T2_T1.nii.gz", "P1_T2_T2.nii.gz",
    ]  # fmt: skip
    (ms / "P1/T2/P1_T2_T1.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"the case P1_T2 to have .*P1_T2_T1.nii.gz, but got no such file"):
        find_cases(ms)


def test_csv(tmp_path):
    save(tmp_path, "x/f.nii.gz", "x/t.nii.gz", "m.nii")
    table = tmp_path / "train.csv"
    table.write_text("case,image,reference,group\nb,x/f.nii.gz;x/t.nii.gz,m.nii,Utrecht\n")
    images = [str(tmp_path / "x/f.nii.gz"), str(tmp_path / "x/t.nii.gz")]
    assert find_cases(table) == [{"case": "b", "image": images, "label": str(tmp_path / "m.nii"), "group": "Utrecht"}]
    table.write_text("case,image,reference\nb,x/f.nii.gz,m.nii\nc,x/f.nii.gz;x/t.nii.gz,m.nii\n")
    with pytest.raises(ValueError, match=r"as many images each, but got \[1, 2\]"):
        find_cases(table)


def test_layouts_without_scans(tmp_path):
    save(tmp_path, "a.nii.gz")
    with pytest.raises(ValueError, match=r"to have scans of a, but got none. Layouts with scans are wmh, brats, msle"):
        find_cases(tmp_path)
    with pytest.raises(ValueError, match=r"`layout` without labels to be one of .*, but got 'brats'"):
        find_cases(tmp_path, "brats", labelled=False)
