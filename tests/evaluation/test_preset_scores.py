from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_instance_loss.evaluation import score_case
from monai_instance_loss.evaluation.presets import get_preset
from monai_instance_loss.metrics import Matching

SHAPE = (10, 8, 6)


def volume(*voxels: tuple[int, int, int], value: int = 1) -> np.ndarray:
    made = np.zeros(SHAPE, np.uint8)
    for voxel in voxels:
        made[voxel] = value
    return made


Y = volume((1, 1, 1), (2, 1, 1), (6, 6, 4))
Y_PRED = volume((2, 1, 1), (4, 4, 1))


def test_scores_by_hand():
    scores = score_case(Y_PRED, Y, spacing_mm=(1, 1, 5), preset="autopet")
    # Dice 2 * 1 / (2 + 3); a false and a missed voxel of 5 mm3
    assert scores == {"dice": 0.4, "false_positive_volume_ml": 0.005, "false_negative_volume_ml": 0.005}


@pytest.mark.parametrize("convert", [torch.from_numpy, lambda y: MetaTensor(y), lambda y: y.astype(bool), np.asarray])
def test_arrays_and_tensors_score_the_same(convert):
    expected = score_case(Y_PRED, Y, spacing_mm=(1, 1, 5), preset="isles22")
    assert score_case(convert(Y_PRED), convert(Y), spacing_mm=(1, 1, 5), preset="isles22") == expected
    assert Y.sum() == 3


def test_images_are_scored_too():
    scores = score_case(Y_PRED[:, :, 1], Y[:, :, 1], spacing_mm=(1, 1), preset="isles22", connectivity=2)
    # 1 of 1 lesion found, 1 false: 1 / (1 + 1 / 2)
    assert (scores["lesion_f1"], scores["lesion_count_difference"]) == (2 / 3, 1)


def test_own_regions_make_a_dictionary_of_them():
    y = volume((1, 1, 1)) + volume((6, 6, 4), value=3)
    regions = {"core": (3,), "all": (1, 3)}
    scores = score_case(volume((1, 1, 1)), y, spacing_mm=(1, 1, 1), preset="isles22", regions=regions)
    # nothing of the core is found; Dice of all 2 / 3
    assert scores["core"]["dice"] == 0
    assert scores["all"]["dice"] == 2 / 3


def test_overrides_change_the_score():
    # the lesion of two voxels is found for half
    touch = score_case(Y_PRED, Y, spacing_mm=(1, 1, 1), preset="isles22")
    iou = score_case(Y_PRED, Y, spacing_mm=(1, 1, 1), preset="isles22", matching=Matching("iou", threshold=0.5))
    assert (touch["lesion_f1"], iou["lesion_f1"]) == (0.5, 0)
    large = score_case(Y_PRED, Y, spacing_mm=(1, 1, 1), preset="isles22", min_volume_mm3=1)
    # what is left of one voxel on either side is gone: one lesion, no prediction
    assert large["lesion_count_difference"] == 1
    empty = score_case(volume(), volume(), spacing_mm=(1, 1, 1), preset="isles22", empty=math.nan)
    assert math.isnan(empty["dice"])
    assert score_case(Y_PRED, Y, spacing_mm=(1, 1, 1), preset=get_preset("isles22")) == touch


def test_voxels_of_other_pathology_are_left_out():
    y = volume((1, 1, 1)) + volume((4, 4, 1), value=2)
    scores = score_case(volume((1, 1, 1), (4, 4, 1)), y, spacing_mm=(1, 1, 3), preset="wmh")
    assert (scores["dsc"], scores["avd"], scores["f1"]) == (1, 0, 1)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"y": volume((1, 1, 1), value=2)}, ValueError, r"`y` to hold 0 and 1 for the preset 'isles22', but got \[2\]"),
        ({"y": Y + 0.5}, ValueError, r"Expected `y` to hold 0 and 1 .* but got \[0.5, 1.5\]"),
        ({"y_pred": Y_PRED[1:]}, ValueError, r"`y` to be 2D or 3D and as `y_pred`, \(9, 8, 6\), but got \(10, 8, 6\)"),
        ({"y": Y[None], "y_pred": Y_PRED[None]}, ValueError, r"Expected `y` to be 2D or 3D .* but got \(1, 10, 8, 6\)"),
        ({"y": "mask.nii"}, TypeError, "Expected `y` to be an array or tensor of numbers, but got <U8"),
        ({"spacing_mm": None}, TypeError, "Expected `spacing_mm` to be a sequence, but got None"),
        ({"spacing_mm": (1, 1)}, ValueError, "Expected `spacing_mm` to have one value for each of 3 spatial axes"),
        ({"preset": "brats-gli", "y": Y * 4}, ValueError, r"labels of the regions {'WT'.*'brats-gli', but got \[4\]"),
        ({"preset": "wmh", "y_pred": Y_PRED * 2}, ValueError, r"`y_pred` to hold 0 and 1 .*'wmh', but got \[2\]"),
    ],
)
def test_bad_input_is_refused(changed, error, message):
    arguments = {"y_pred": Y_PRED, "y": Y, "spacing_mm": (1, 1, 1), "preset": "isles22"} | changed
    with pytest.raises(error, match=message):
        score_case(**arguments)
