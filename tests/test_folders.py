from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from monai_instance_loss._folders import natural_key, walk_files


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def walked(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in walk_files(folder)]


def test_all_files_sorted_and_hidden_ones_too(tmp_path):
    names = ["b.txt", "a/2/x.nii", "a/10/x.nii", ".hidden/y"]
    assert walked(touch(tmp_path, *names)) == sorted(names)
    (tmp_path / "empty").mkdir()
    assert walk_files(tmp_path / "empty") == []


def test_linked_folders_are_followed(tmp_path):
    site = touch(tmp_path / "store" / "Utrecht", "0/wmh.nii.gz", "0/pre/FLAIR.nii.gz")
    root = touch(tmp_path / "root", "Singapore/50/wmh.nii.gz")
    (root / "Utrecht").symlink_to(site, target_is_directory=True)
    # a second way to the same files is another name for them
    (root / "again").symlink_to("Utrecht", target_is_directory=True)
    assert walked(root) == [
        "Singapore/50/wmh.nii.gz",
        "Utrecht/0/pre/FLAIR.nii.gz",
        "Utrecht/0/wmh.nii.gz",
        "again/0/pre/FLAIR.nii.gz",
        "again/0/wmh.nii.gz",
    ]


def test_loops_are_not_followed(tmp_path):
    root = touch(tmp_path / "root", "a/x", "b/y")
    touch(tmp_path, "outside")
    (root / "a" / "self").symlink_to(".", target_is_directory=True)
    (root / "a" / "root").symlink_to("..", target_is_directory=True)
    (root / "a" / "above_root").symlink_to("../..", target_is_directory=True)
    (root / "a" / "other").symlink_to("../b", target_is_directory=True)
    (root / "b" / "other").symlink_to("../a", target_is_directory=True)
    # a and b are linked to each other: each is entered once on the way through the other
    assert walked(root) == ["a/other/y", "a/x", "b/other/x", "b/y"]


def test_what_is_no_folder_is_listed_so_that_its_reader_can_name_it(tmp_path):
    (tmp_path / "gone.nii.gz").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    assert walked(tmp_path) == ["gone.nii.gz", "pipe"]


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    touch(tmp_path, "fine/x", "locked/y")
    scandir = os.scandir

    def denied(folder):
        # tests may run as root, whom permissions do not stop
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(OSError, match=rf"folder that can be read, but got {re.escape(str(tmp_path / 'locked'))}: .*13"):
        walk_files(tmp_path)


def test_a_link_to_itself_is_named(tmp_path):
    (tmp_path / "ring").symlink_to("ring")
    with pytest.raises(OSError, match=r"can be read, but got .*ring"):
        walk_files(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(OSError, match=r"can be read, but got .*nowhere"):
        walk_files(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        (["p10", "p2", "p"], ["p", "p2", "p10"]),
        # a superscript is a digit to str.isdigit, but no number to int
        (["x²10", "²", "x²9"], ["x²9", "x²10", "²"]),
        # Arabic-Indic digits are numbers: 3 before 12
        (["١٢", "٣"], ["٣", "١٢"]),
    ],
)
def test_natural_order(names, ordered):
    assert sorted(names, key=natural_key) == ordered
