from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from monai_instance_loss.evaluation.case import class_masks, score_files
from monai_instance_loss.evaluation.loading import Volume, read_labels, read_mask
from monai_instance_loss.evaluation.odd_values import IGNORED, LabelMapError
from monai_instance_loss.evaluation.pairing import CaseFiles
from monai_instance_loss.evaluation.scores import score_masks
from monai_instance_loss.evaluation.scoring import Region, Scoring, parse_matching, parse_regions
from monai_instance_loss.evaluation.selection import chosen_cases, labels_nowhere
from monai_instance_loss.metrics import Matching


def volume(voxels: np.ndarray) -> Volume:
    return Volume(Path("y.nii"), voxels, np.eye(4))


@pytest.mark.parametrize(
    ("text", "assignment", "expected"),
    [
        ("touch", "many", Matching()),
        ("iou", "greedy", Matching("iou", 0.5, "greedy")),
        ("ior:0.25", "optimal", Matching("ior", 0.25, "optimal")),
        ("pred_center", "many", Matching("pred_center")),
    ],
)
def test_matchings(text, assignment, expected):
    assert parse_matching(text, assignment) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nearby", r"`criterion` to be one of \['touch', "),
        ("iou:half", r"a criterion or `criterion:number`, but got 'iou:half'"),
        ("iou:2", r"`threshold` to be in \[0, 1\), but got 2.0"),
        ("touch:0.5", r"`threshold` to be None for the criterion 'touch', but got 0.5"),
    ],
)
def test_matchings_that_are_none(text, message):
    with pytest.raises(ValueError, match=message):
        parse_matching(text)


KNOWN = (Region("edema", (1,)), Region("whole", (1, 2, 3)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2", Region("2", (2,))),
        ("1", Region("edema", (1,))),
        ("edema", Region("edema", (1,))),
        ("WT=3,2,1", Region("WT", (1, 2, 3))),
        ("1,2,3", Region("whole", (1, 2, 3))),
    ],
)
def test_regions(text, expected):
    assert parse_regions([text], KNOWN) == (expected,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("core", r"a number, NAME=1,2 or a name of edema, whole, but got 'core'"),
        ("0", r"a name and numbers from 1 on, but got '0'"),
        ("=1", r"a name and numbers from 1 on, but got '=1'"),
        ("mean=1", r"another name than 'mean'"),
    ],
)
def test_regions_that_are_none(text, message):
    with pytest.raises(ValueError, match=message):
        parse_regions([text], KNOWN)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_size": -1}, r"`min_size` to be 0 or more"),
        ({"connectivity": 4}, r"`connectivity` to be 1, 2 or 3, but got 4"),
        ({"empty": "nan"}, r"`empty` to be \"exclude\" or \"one\" or \"zero\", but got 'nan'"),
        ({"regions": (Region("a", (1,)), Region("a", (2,)))}, r"different names, but got 'a' twice"),
        (
            {"regions": (Region("a", (1, 4)),), "ignore_label": 4},
            r"label 4 either to be scored, as a, or to be ignored",
        ),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        Scoring(**options)


def test_matching_decides_what_is_detected(mask):
    # a lesion of 4 voxels in a row, of which 1 is predicted: it touches, with an IoU of 1/4
    y, y_pred = volume(mask((0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0))), mask((0, 0, 0))
    for text, found in (("touch", 1), ("iou:0.2", 1), ("iou:0.25", 0), ("iou", 0)):
        scores, lesions = score_masks("net", "a", y_pred, y, Scoring(matching=parse_matching(text)))
        assert (scores.recall, scores.precision, scores.f1) == (found, found, found)
        assert (scores.n_missed, scores.n_false) == (1 - found, 1 - found)
        assert [row["status"] for row in lesions] == (["detected", "matched"] if found else ["missed", "false"])


def test_one_partner_each(mask):
    # one predicted lesion over two: with one partner it finds one of them
    y, y_pred = volume(mask((0, 0, 0), (2, 0, 0), (3, 0, 0))), mask((0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0))
    many, greedy = (
        score_masks("net", "a", y_pred, y, Scoring(matching=Matching(assignment=assignment)))[0]
        for assignment in ("many", "greedy")
    )
    assert (many.n_missed, greedy.n_missed) == (0, 1)
    # recall 1/2, precision 1
    assert greedy.f1 == pytest.approx(2 / 3)


def test_connectivity_and_smallest_lesion(mask):
    # a diagonal pair of voxels and a single one
    y = volume(mask((0, 0, 0), (1, 1, 0), (4, 4, 3)))
    counts = [score_masks("net", "a", mask(), y, Scoring(connectivity=c))[0].n_true for c in (None, 3, 2, 1)]
    assert counts == [2, 2, 2, 3]
    scores, lesions = score_masks("net", "a", mask((4, 4, 3)), y, Scoring(min_size=2))
    # the single one is in neither mask any more
    assert (scores.n_true, scores.n_pred, scores.dice, scores.volume_true_ml) == (1, 0, 0, 0.002)
    assert len(lesions) == 1


@pytest.mark.parametrize(("empty", "value"), [("exclude", math.nan), ("one", 1), ("zero", 0)])
def test_empty_cases(mask, empty, value):
    names = ("dice", "recall", "precision", "f1", "pq")
    scores, _ = score_masks("net", "a", mask(), volume(mask()), Scoring(empty=empty))
    assert [getattr(scores, name) for name in names] == pytest.approx([value] * 5, nan_ok=True)
    assert math.isnan(scores.h95_mm)
    # a case with something on one side is none
    scores, _ = score_masks("net", "a", mask((1, 1, 1)), volume(mask()), Scoring(empty=empty))
    assert (scores.dice, scores.f1) == (0, 0)
    assert math.isnan(scores.recall)


def test_labels_are_read_as_they_are(tmp_path, save, mask):
    path = save(tmp_path / "y.nii", mask((1, 1, 1)) + mask((2, 2, 2), value=4) + mask((3, 3, 3), value=9))
    read = read_labels(path, ignore_label=9)
    assert (read.voxels[1, 1, 1], read.voxels[2, 2, 2], read.voxels[3, 3, 3]) == (1, 4, IGNORED)
    assert read.labels == (1, 4)
    for value, dtype in ((1.5, np.float32), (-1, np.int16), (np.nan, np.float32), (70000, np.int32)):
        odd = save(tmp_path / "odd.nii", mask((1, 2, 3), value=value, dtype=dtype))
        with pytest.raises(
            ValueError, match=r"whole numbers from 0 to 65534, but got \S+ at voxel \(1, 2, 3\), 1 such"
        ):
            read_labels(odd)


def test_white_masks_are_binary(tmp_path, save, mask):
    white = save(tmp_path / "white.nii", mask((1, 1, 1), value=255))
    read = read_mask(white)
    np.testing.assert_array_equal(read.voxels, mask((1, 1, 1)))
    assert read.labels == (255,)
    np.testing.assert_array_equal(read_mask(white, ignore_label=255).voxels, mask((1, 1, 1), value=2))
    both = save(tmp_path / "both.nii", mask((1, 1, 1), value=255) + mask((2, 2, 2)))
    with pytest.raises(LabelMapError, match=r"0 and 1 only, but got 255 at voxel \(1, 1, 1\), 1 such") as stop:
        read_mask(both)
    assert stop.value.labels == (1, 255)
    result = score_files(CaseFiles("a", white, {"net": white}))
    assert (result.scores[0].dice, result.white) == (1, [str(white), str(white)])


def test_each_class_is_scored_by_itself(tmp_path, save, mask):
    # whole: 1 and 3; core: 3. The prediction calls the core 1, and ignored voxels count nowhere
    y = mask((0, 0, 0)) + mask((0, 1, 0), value=3) + mask((5, 5, 3), value=7)
    y_pred = mask((0, 0, 0), (0, 1, 0), (5, 5, 3))
    files = CaseFiles("a", save(tmp_path / "y.nii", y), {"net": save(tmp_path / "x.nii", y_pred)}, group="site")
    regions = (Region("whole", (1, 3)), Region("core", (3,)))
    result = score_files(files, Scoring(regions=regions, ignore_label=7))
    assert [(row.label, row.group, row.dice, row.n_true, row.n_pred) for row in result.scores] == [
        ("whole", "site", 1, 1, 1), ("core", "site", 0, 1, 0),
    ]  # fmt: skip
    assert [(row["label"], row["status"]) for row in result.lesions] == [
        ("whole", "detected"), ("whole", "matched"), ("core", "missed"),
    ]  # fmt: skip
    assert result.labels == [1, 3]


def test_masks_of_classes():
    labels = volume(np.array([[[0, 1, 4, IGNORED]]], np.uint16))
    masks = dict(class_masks(labels, Scoring(regions=(Region("a", (1,)), Region("b", (2, 4))))))
    assert {name: mask.voxels.tolist() for name, mask in masks.items()} == {
        "a": [[[0, 1, 0, 2]]],
        "b": [[[0, 0, 1, 2]]],
    }


def test_labels_that_are_nowhere():
    scoring = Scoring(regions=(Region("WT", (1, 2, 4)), Region("ET", (5,))))
    failures = labels_nowhere(scoring, {1, 2, 3})
    assert [(failure.case, failure.missing) for failure in failures] == [("label WT", True), ("label ET", True)]
    assert failures[1].message == "Expected the label 5 to be in some mask, but got the labels 1, 2, 3 only."
    assert labels_nowhere(scoring, set())[0].message.endswith("to be in some mask, but got none.")


def test_cases_by_name_or_pattern():
    cases = [CaseFiles(name, Path(name), {}) for name in ("Utrecht/0", "Utrecht/1", "GE3T/0")]
    assert [case.case for case in chosen_cases(cases, [], ["Utrecht/*"])[0]] == ["Utrecht/0", "Utrecht/1"]
    assert [case.case for case in chosen_cases(cases, [], ["GE3T/0", "*/1"])[0]] == ["Utrecht/1", "GE3T/0"]
    with pytest.raises(ValueError, match=r"`7` to be the name .*, but got no such case. Cases are Utrecht/0, Utr"):
        chosen_cases(cases, [], ["*/0", "7"])
