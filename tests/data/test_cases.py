import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_instance_loss.data import find_wmh_cases


def save(path: Path, shape=(4, 5, 6), affine=None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.zeros(shape, np.uint8), np.diag([1, 1, 3, 1]) if affine is None else affine), path)


def make_case(folder: Path) -> Path:
    for name in ("pre/FLAIR.nii.gz", "pre/T1.nii.gz", "wmh.nii.gz"):
        save(folder / name)
    return folder


def test_nested_sites_in_natural_order(tmp_path):
    for name in ("Utrecht/10", "Utrecht/2", "Amsterdam/GE3T/100", "Singapore/50"):
        make_case(tmp_path / name)
    cases = find_wmh_cases(tmp_path)
    assert [case["case"] for case in cases] == ["Amsterdam/GE3T/100", "Singapore/50", "Utrecht/2", "Utrecht/10"]
    assert cases[0] == {
        "case": "Amsterdam/GE3T/100",
        "flair": str(tmp_path / "Amsterdam/GE3T/100/pre/FLAIR.nii.gz"),
        "t1": str(tmp_path / "Amsterdam/GE3T/100/pre/T1.nii.gz"),
        "wmh": str(tmp_path / "Amsterdam/GE3T/100/wmh.nii.gz"),
    }


def test_root_that_is_itself_a_case(tmp_path):
    make_case(tmp_path / "50")
    assert [case["case"] for case in find_wmh_cases(tmp_path / "50")] == ["50"]


def test_label_without_pre_is_no_case(tmp_path):
    make_case(tmp_path / "Utrecht/0")
    save(tmp_path / "predictions/0/wmh.nii.gz")
    assert [case["case"] for case in find_wmh_cases(tmp_path)] == ["Utrecht/0"]


def test_missing_root(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Expected `root` to be an existing folder, but got .*nowhere"):
        find_wmh_cases(tmp_path / "nowhere")


def test_empty_root(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Expected `root` to hold cases .*, but got none in"):
        find_wmh_cases(tmp_path)


def test_cases_without_labels(tmp_path):
    (make_case(tmp_path / "Utrecht/0") / "wmh.nii.gz").unlink()
    make_case(tmp_path / "Utrecht/1")
    cases = find_wmh_cases(tmp_path, labelled=False)
    assert [case["case"] for case in cases] == ["Utrecht/0", "Utrecht/1"]
    assert set(cases[1]) == {"case", "flair", "t1"}
    save(tmp_path / "Utrecht/0/pre/T1.nii.gz", affine=np.diag([1, 1, 4, 1]))
    with pytest.raises(ValueError, match="share one grid"):
        find_wmh_cases(tmp_path, labelled=False)


def test_empty_root_without_labels(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Expected `root` to hold cases .*pre/FLAIR.nii.gz.*, but got none in"):
        find_wmh_cases(tmp_path, labelled=False)


@pytest.mark.parametrize("name", ["FLAIR.nii.gz", "T1.nii.gz"])
def test_missing_scan(tmp_path, name):
    (make_case(tmp_path / "Utrecht/0") / "pre" / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"Expected the case .*0 to have .*{name}, but got no"):
        find_wmh_cases(tmp_path)


@pytest.mark.parametrize("name", ["pre/T1.nii.gz", "wmh.nii.gz"])
def test_other_shape(tmp_path, name):
    save(make_case(tmp_path / "Utrecht/0") / name, shape=(4, 5, 7))
    message = (
        rf"share one grid, but got .*FLAIR.nii.gz with shape \(4, 5, 6\) .* {tmp_path}.*{name} with shape \(4, 5, 7\)"
    )
    with pytest.raises(ValueError, match=message):
        find_wmh_cases(tmp_path)


def test_other_affine(tmp_path):
    affine = np.diag([1.0, 1, 3, 1])
    affine[0, 3] = 2.5
    save(make_case(tmp_path / "Utrecht/0") / "wmh.nii.gz", affine=affine)
    with pytest.raises(ValueError, match=r"share one grid, but got .*FLAIR.nii.gz .*wmh.nii.gz .*2\.5"):
        find_wmh_cases(tmp_path)


def test_affine_may_differ_by_rounding(tmp_path):
    affine = np.diag([1.0, 1, 3, 1])
    affine[0, 3] = 1e-3
    save(make_case(tmp_path / "Utrecht/0") / "wmh.nii.gz", affine=affine)
    assert len(find_wmh_cases(tmp_path)) == 1


@pytest.mark.parametrize("content", [b"", b"no volume", b"\x1f\x8b\x08\x00broken"])
def test_corrupt_file(tmp_path, content):
    (make_case(tmp_path / "Utrecht/0") / "pre/T1.nii.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"Expected .*T1.nii.gz to be a readable NIfTI volume, but got"):
        find_wmh_cases(tmp_path)


def test_cut_off_file(tmp_path):
    path = make_case(tmp_path / "Utrecht/0") / "pre/T1.nii.gz"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"Expected .*T1.nii.gz to be a readable NIfTI volume, but got"):
        find_wmh_cases(tmp_path)


def test_four_axes(tmp_path):
    save(make_case(tmp_path / "Utrecht/0") / "pre/FLAIR.nii.gz", shape=(4, 5, 6, 2))
    with pytest.raises(ValueError, match=r"FLAIR.nii.gz to have 3 axes, but got shape \(4, 5, 6, 2\)"):
        find_wmh_cases(tmp_path)


def test_linked_sites_are_followed(tmp_path):
    make_case(tmp_path / "store" / "Utrecht" / "0")
    make_case(tmp_path / "root" / "Singapore" / "50")
    (tmp_path / "root" / "Utrecht").symlink_to(tmp_path / "store" / "Utrecht", target_is_directory=True)
    (tmp_path / "root" / "Singapore" / "loop").symlink_to("..", target_is_directory=True)
    cases = find_wmh_cases(tmp_path / "root")
    assert [case["case"] for case in cases] == ["Singapore/50", "Utrecht/0"]
    assert cases[1]["flair"] == str(tmp_path / "root/Utrecht/0/pre/FLAIR.nii.gz")
    assert [case["case"] for case in find_wmh_cases(tmp_path / "root", labelled=False)] == ["Singapore/50", "Utrecht/0"]


def test_a_link_that_leads_nowhere_is_named(tmp_path):
    make_case(tmp_path / "Singapore/50")
    (tmp_path / "Utrecht").symlink_to(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match=f"to lead somewhere, but got {tmp_path / 'Utrecht'}, which does not"):
        find_wmh_cases(tmp_path)


def test_a_case_of_two_names_is_refused(tmp_path):
    make_case(tmp_path / "Utrecht/0")
    (tmp_path / "latest").symlink_to("Utrecht", target_is_directory=True)
    with pytest.raises(ValueError, match=r"Expected each case once, but got .*Utrecht/0 and .*latest/0, which are one"):
        find_wmh_cases(tmp_path)


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    make_case(tmp_path / "Utrecht/0")
    make_case(tmp_path / "Singapore/50")
    scandir = os.scandir

    def refusing(path):
        # permissions do not stop root
        if Path(path).name == "Utrecht":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(OSError, match=f"but got {tmp_path / 'Utrecht'}: .*Permission denied"):
        find_wmh_cases(tmp_path)
