import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_instance_loss.data import find_wmh_cases, wmh_cases, write_wmh_dataset, writing

SPACING_MM = (6.0, 5.0, 8.0)
COARSE = {"spacing_mm": SPACING_MM, "progress": False}


def contents(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wmh")
    write_wmh_dataset(folder, cases_per_site=2, **COARSE)
    return folder


def test_layout(root):
    names = {"pre/FLAIR.nii.gz", "pre/T1.nii.gz", "wmh.nii.gz"}
    sites = ("Utrecht", "Singapore", "GE3T")
    assert set(contents(root)) == {f"{site}/{k}/{name}" for site in sites for k in range(2) for name in names}


def test_returns_what_the_reader_finds(tmp_path):
    written = write_wmh_dataset(tmp_path, cases_per_site=1, **COARSE)
    assert written == find_wmh_cases(tmp_path)
    assert [case["case"] for case in written] == ["GE3T/0", "Singapore/0", "Utrecht/0"]


def test_headers(root):
    for case in find_wmh_cases(root):
        images = {key: nib.load(case[key]) for key in ("flair", "t1", "wmh")}
        for key, image in images.items():
            header = image.header
            np.testing.assert_allclose(header.get_zooms(), SPACING_MM, rtol=1e-5)
            assert header.get_xyzt_units()[0] == "mm"
            assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 1)
            np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-3)
            np.testing.assert_allclose(image.affine, images["flair"].affine)
            assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
            assert image.get_data_dtype() == (np.uint8 if key == "wmh" else np.int16)
            assert image.shape == images["flair"].shape
            assert header.get_slope_inter() in ((None, None), (1.0, 0.0))


def test_same_seed_same_files(root, tmp_path):
    write_wmh_dataset(tmp_path, cases_per_site=2, **COARSE)
    assert contents(tmp_path) == contents(root)


def test_a_case_does_not_depend_on_the_others(root, tmp_path):
    write_wmh_dataset(tmp_path, cases_per_site=1, sites=["GE3T"], **COARSE)
    assert contents(tmp_path).items() <= contents(root).items()


def test_cases_and_seeds_differ(root, tmp_path):
    write_wmh_dataset(tmp_path, cases_per_site=1, sites=["GE3T"], seed=1, **COARSE)
    voxels = [contents(root)[f"GE3T/{k}/wmh.nii.gz"] for k in range(2)] + [contents(tmp_path)["GE3T/0/wmh.nii.gz"]]
    assert len(set(voxels)) == 3


def test_existing_cases_are_left_alone(root):
    before = contents(root)
    with pytest.raises(FileExistsError, match=r"Expected `root` to hold no cases, but got .*which holds"):
        write_wmh_dataset(root, cases_per_site=1, **COARSE)
    assert contents(root) == before


def test_root_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="Expected `root` to be a folder, but got the file"):
        write_wmh_dataset(tmp_path / "file", cases_per_site=1, **COARSE)


@pytest.mark.parametrize("failing_call", [1, 2, 3])
def test_nothing_half_written_when_saving_fails(tmp_path, monkeypatch, failing_call):
    save, calls = nib.save, []

    def save_half(image, path):
        calls.append(path)
        if len(calls) == failing_call:
            Path(path).write_bytes(b"half")
            raise OSError("disk full")
        save(image, path)

    monkeypatch.setattr(writing.nib, "save", save_half)
    with pytest.raises(OSError, match="disk full"):
        write_wmh_dataset(tmp_path, cases_per_site=1, sites=["Utrecht"], **COARSE)
    whole = ["Utrecht/0/pre/FLAIR.nii.gz", "Utrecht/0/pre/T1.nii.gz"][: failing_call - 1]
    assert sorted(contents(tmp_path)) == [writing.UNFINISHED_NAME, *whole]
    with pytest.raises(FileNotFoundError, match="Expected `root` to hold cases"):
        find_wmh_cases(tmp_path)
    with pytest.raises(FileExistsError, match="unfinished data set: delete the folder"):
        write_wmh_dataset(tmp_path, cases_per_site=1, **COARSE)
    with pytest.raises(FileExistsError, match="whose making was cut off: delete the folder"):
        wmh_cases(tmp_path)


@pytest.mark.parametrize("make", [True, False])
def test_wmh_cases_makes_a_missing_or_empty_data_set_once(tmp_path, make):
    folder = tmp_path / "data"
    if make:
        folder.mkdir()
    made = wmh_cases(folder, cases_per_site=1, sites=["Utrecht"], **COARSE)
    before = contents(folder)
    assert wmh_cases(folder, cases_per_site=5) == made
    assert contents(folder) == before


@pytest.mark.parametrize(("exists", "wrong"), [(False, "does not exist"), (True, "is empty")])
def test_wmh_cases_makes_nothing_that_nobody_asked_for(tmp_path, exists, wrong):
    folder = tmp_path / "WHM"
    if exists:
        folder.mkdir()
    with pytest.raises(
        FileNotFoundError, match=f"`dataset_dir` to hold cases, but got {folder}, which {wrong}: .*make"
    ):
        wmh_cases(folder, make_data=False, cases_per_site=1, **COARSE)
    assert folder.exists() == exists
    assert not contents(tmp_path)
    with pytest.raises(TypeError, match="Expected `make_data` to be True or False, but got 'false'"):
        wmh_cases(folder, make_data="false")


def test_linked_cases_are_cases(root, tmp_path):
    (tmp_path / "site").symlink_to(root / "GE3T", target_is_directory=True)
    with pytest.raises(FileExistsError, match=r"Expected `root` to hold no cases, but got .*which holds .*site/0"):
        write_wmh_dataset(tmp_path, cases_per_site=1, **COARSE)


def test_wmh_cases_does_not_fill_a_folder_of_something_else(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(FileNotFoundError, match="Expected `root` to hold cases"):
        wmh_cases(tmp_path, cases_per_site=1, **COARSE)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"cases_per_site": 0}, ValueError, "Expected `cases_per_site` to be 1 or more, but got 0."),
        ({"cases_per_site": 1.5}, TypeError, "Expected `cases_per_site` to be an integer, but got 1.5"),
        ({"seed": -1}, ValueError, "Expected `seed` to be 0 or more, but got -1."),
        ({"sites": "Utrecht"}, TypeError, "Expected `sites` to be a sequence of site names, but got 'Utrecht'."),
        ({"sites": ()}, ValueError, "Expected `sites` to be one or more different site names, but got ()."),
        ({"sites": ["GE3T", "GE3T"]}, ValueError, "Expected `sites` to be one or more different site names"),
        ({"sites": ["Delft"]}, ValueError, "Expected `site` to be one of"),
        ({"spacing_mm": (1, 1)}, ValueError, "Expected `spacing_mm` to be three voxel sizes"),
    ],
)
def test_bad_arguments_come_before_any_work(tmp_path, arguments, error, message):
    folder = tmp_path / "data"
    with pytest.raises(error, match=re.escape(message)):
        write_wmh_dataset(folder, **arguments)
    assert not folder.exists()
