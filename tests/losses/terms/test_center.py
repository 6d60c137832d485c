"""The center term by hand."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DiceLoss

from monai_instance_loss.losses import InstanceLoss


def dice(tp: float, sum_p: float, sum_y: float) -> float:
    return 1 - (2 * tp + 1e-5) / (sum_p + sum_y + 1e-5)


def center(p: torch.Tensor, target: torch.Tensor, radius: int, **options: object) -> float:
    fast = InstanceLoss(center_radius=radius, threshold=0.5, **options).terms(p, target).center
    callable_one = DiceLoss()
    slow = InstanceLoss(
        center_radius=radius, threshold=0.5, center_loss=lambda a, b: callable_one(a, b), **options
    ).terms(p, target)
    torch.testing.assert_close(fast, slow.center)
    return float(fast)


def test_boxes_of_a_shifted_prediction():
    target, p = torch.zeros(1, 1, 20, 20, dtype=torch.float64), torch.zeros(1, 1, 20, 20, dtype=torch.float64)
    target[0, 0, 10, 10], p[0, 0, 10, 12] = 1, 0.7
    # radius 2: from 10 - 2 - 1 = 7 up to 10 + 2 = 12, a box of 5 x 5; the other is 2 to the right, 15 voxels in common.
    # The true one is missed with presence 0 and paints nothing
    assert center(p, target, 2) == pytest.approx(dice(15 * 0.7, 25 * 0.7, 25), abs=1e-9)


def test_a_missed_lesion_paints_its_presence():
    target = torch.zeros(1, 1, 20, 20, dtype=torch.float64)
    target[0, 0, 4, 4] = target[0, 0, 14, 14] = 1
    p = 0.25 * target
    # two boxes of 5 x 5 with presence 0.25
    assert center(p, target, 2) == pytest.approx(dice(50 * 0.25, 50 * 0.25, 50), abs=1e-9)


def test_the_most_present_box_shows():
    p, target = torch.zeros(1, 1, 20, 20, dtype=torch.float64), torch.zeros(1, 1, 20, 20, dtype=torch.float64)
    p[0, 0, 10, 8], p[0, 0, 10, 10] = 0.9, 0.6
    target[0, 0, 10, 9] = 1
    # predicted boxes over columns 5-9 and 7-11: the first shows on its 25 voxels, the second on the 10 left to it. The
    # true one covers columns 6-10: 4 columns of the first, 1 of the second
    expected = dice(20 * 0.9 + 5 * 0.6, 25 * 0.9 + 10 * 0.6, 25)
    assert center(p, target, 2) == pytest.approx(expected, abs=1e-9)
    assert center(p.flip(3).roll(-1, 3), target.flip(3).roll(-1, 3), 2) == pytest.approx(expected, abs=1e-9)


def test_boxes_that_overlap_count_once_in_the_target():
    target = torch.zeros(1, 1, 20, 20, dtype=torch.float64)
    target[0, 0, 10, 8] = target[0, 0, 10, 10] = 1
    p = torch.zeros_like(target)
    p[0, 0, 3, 3] = 0.8
    # the union of two boxes 2 apart: 5 x 7; the false box elsewhere, columns and rows 0-4
    assert center(p, target, 2) == pytest.approx(dice(0, 25 * 0.8, 35), abs=1e-9)


def test_centres_are_rounded_up_and_boxes_clipped():
    target = torch.zeros(1, 1, 20, 20, dtype=torch.float64)
    # mean row 0.5 -> 1, mean column 18.25 -> 19
    target[0, 0, 0, 18], target[0, 0, 1, 18], target[0, 0, 1, 19], target[0, 0, 0, 18] = 1, 1, 1, 1
    target[0, 0, 0, 17] = 1
    # rows (0 + 0 + 1 + 1) / 4 = 0.5 -> 1: from 1 - 3 = -2 -> 0 up to 1 + 2 = 3. Columns (17 + 18 + 18 + 19) / 4 = 18
    # -> from 15 up to 20. 3 x 5 = 15 voxels
    p = torch.zeros_like(target)
    p[0, 0, 10, 10] = 0.5
    # a box of 5 x 5 far away with presence 0.5
    assert center(p, target, 2) == pytest.approx(dice(0, 12.5, 15), abs=1e-9)


def test_boxes_are_narrower_along_shorter_axes():
    target = torch.zeros(1, 1, 20, 10, 5, dtype=torch.float64)
    target[0, 0, 10, 5, 2] = 1
    p = 0.5 * target
    # radius 4: 4, ceil(4 * 10 / 20) = 2, ceil(4 * 5 / 20) = 1; widths 9, 5, 3 = from 2 - 1 - 1 = 0 up to 3
    assert center(p, target, 4) == pytest.approx(dice(67.5, 67.5, 135), abs=1e-9)
    # radius 3: 3, ceil(1.5) = 2, ceil(0.75) = 1; widths 7, 5, 3 = 105
    assert center(p, target, 3) == pytest.approx(dice(52.5, 52.5, 105), abs=1e-9)


def test_radius_zero_is_one_voxel_before_the_centre():
    target = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    target[0, 0, 4, 4] = 1
    assert center(0.5 * target, target, 0) == pytest.approx(dice(0.5, 0.5, 1), abs=1e-9)


def test_samples_are_averaged():
    target = torch.zeros(2, 1, 9, 9, dtype=torch.float64)
    target[0, 0, 4, 4] = 1
    # one voxel at presence 0.5, and an empty sample: 0
    for options in ({}, {"average_over": "sample"}):
        assert center(0.5 * target, target, 0, **options) == pytest.approx(dice(0.5, 0.5, 1) / 2, abs=1e-9)


def test_more_boxes_than_are_painted_at_a_time(naive, monkeypatch, soft_batch):
    from monai_instance_loss.losses.terms import center as module

    logits, target = soft_batch((2, 1, 16, 17), 1)
    whole = InstanceLoss(sigmoid=True).terms(logits, target).center
    monkeypatch.setattr(module, "_CHUNK", 100)
    torch.testing.assert_close(InstanceLoss(sigmoid=True).terms(logits, target).center, whole)
    expected = naive.terms(torch.sigmoid(logits), target, naive.Options(threshold=0.1))["center"]
    torch.testing.assert_close(whole, expected)


def test_a_box_before_the_first_voxel_is_empty():
    target = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    target[0, 0, 0, 0] = 1
    # radius 0 is the voxel before the centre, and there is none: neither side has a box
    assert center(0.5 * target, target, 0) == pytest.approx(dice(0, 0, 0), abs=1e-9)
