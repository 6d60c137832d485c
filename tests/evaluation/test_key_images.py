from __future__ import annotations

import math
import re

import numpy as np
import pytest

from monai_instance_loss.evaluation.key_images import key_image, worst_cases
from monai_instance_loss.evaluation.pairing import CaseFiles
from monai_instance_loss.evaluation.scoring import Scoring


def test_worst_first(scores):
    cases = [
        scores("fine", f1=1.0),
        scores("empty", f1=math.nan),
        scores("half", f1=0.5, n_missed=1),
        scores("half, more", f1=0.5, n_missed=1, n_false=1),
        scores("bad", f1=0.0, n_missed=1),
    ]
    assert [case.case for case in worst_cases(cases)] == ["bad", "half, more", "half"]
    assert [case.case for case in worst_cases(cases, count=1)] == ["bad"]


@pytest.fixture
def files(tmp_path, save, mask) -> CaseFiles:
    image = np.random.default_rng(0).random((6, 6, 4)).astype(np.float32)
    return CaseFiles(
        "site/1",
        save(tmp_path / "ref.nii", mask((1, 1, 1), (4, 4, 1)) + mask((0, 0, 1), value=2)),
        {"net": save(tmp_path / "net.nii", mask((1, 1, 1), (1, 4, 1)))},
        image=save(tmp_path / "scan.nii", image),
    )


def shapes(axis) -> list[str]:
    return sorted(type(patch).__name__ for patch in axis.patches)


def test_missed_are_ringed_and_false_are_squared(files):
    figure, remark = key_image(files, "net", Scoring(ignore_label=2))
    image, reference, prediction = figure.axes[:3]
    assert (shapes(reference), shapes(prediction)) == (["Circle"], ["Circle", "Rectangle"])
    assert remark == ""
    # the slice at voxel 1 of 4, at 1 * 3 + 7 mm; the scan is not called FLAIR when nothing says so
    assert image.get_title() == "site/1\naxial z = +10 mm (slice 2/4)"
    assert image.get_images()[0].get_array().max() > 0
    # the missed and the false one are framed, and shown from near
    assert shapes(image) == ["Rectangle", "Rectangle"]
    assert len(figure.axes) == 3 + 2 * 3
    assert figure.axes[3].get_title().startswith("A: missed lesion, 6 mm³, 1 voxel\n")
    assert figure.axes[6].get_title().startswith("B: false lesion, 6 mm³, 1 voxel\n")


def test_scan_that_cannot_be_drawn(files, save, tmp_path):
    for image, start in (
        (None, "No scan was given"),
        (save(tmp_path / "small.nii", np.zeros((2, 2, 2), np.uint8)), "The scan is not drawn. Expected .*small.nii"),
        (tmp_path / "none.nii", "The scan is not drawn. Expected .*none.nii to be a readable"),
    ):
        other = CaseFiles(files.case, files.reference, files.predictions, image=image)
        figure, remark = key_image(other, "net", Scoring(ignore_label=2))
        assert re.match(start, remark)
        assert shapes(figure.axes[2]) == ["Circle", "Rectangle"]
