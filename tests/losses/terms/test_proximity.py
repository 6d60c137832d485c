"""The proximity term by hand."""

from __future__ import annotations

import pytest
import torch

from monai_instance_loss.losses import InstanceLoss


def blank(side: int = 20) -> torch.Tensor:
    return torch.zeros(1, 1, side, side, dtype=torch.float64)


def test_a_lesion_and_a_prediction_apart():
    target, p = blank(), blank()
    target[0, 0, 4:6, 4:6], p[0, 0, 4:6, 12] = 1, 0.75
    # true box, extent 1 each: rows and columns 4 - 2 = 2 to 5 + 1 = 6; centre 2 + 4 / 2 = 4
    # predicted box: rows 2 to 6, columns, extent 0 -> 1: 12 - 2 = 10 to 12 + 1 = 13; centre 10 + ceil(3 / 2) = 12
    # no intersection; centres 8 apart; smallest box around both: 4 x 11, squared diagonal 16 + 121
    distance = 1 + 64 / 137
    # scores: nothing of the lesion, 1 - 1e-5 / (4 + 1e-5); the false one's presence 0.75
    missed = 1 - 1e-5 / (4 + 1e-5)
    published = InstanceLoss(threshold=0.5).terms(p, target).proximity
    assert float(published) == pytest.approx((distance * missed - distance * 0.75) ** 2, rel=1e-6)
    mean = InstanceLoss(threshold=0.5, proximity="mean").terms(p, target).proximity
    assert float(mean) == pytest.approx((distance * missed + distance * 0.75) / 2, rel=1e-6)


def test_the_nearest_box_counts_and_sums_run_over_instances():
    target, p = blank(30), blank(30)
    target[0, 0, 5, 5], p[0, 0, 5, 9], p[0, 0, 25, 25] = 1, 1, 1
    # boxes of 3 x 3 from 3 to 6, centre 3 + 2 = 5; from 7 to 10, centre 9; from 23 to 26, centre 25
    # to the first: 1 + 16 / (9 + 49); to the second: 1 + 800 / (23^2 + 23^2)
    near, far = 1 + 16 / 58, 1 + 800 / 1058
    # the missed lesion scores 1 - 1e-5 / (1 + 1e-5), each false prediction 1
    missed = 1 - 1e-5 / (1 + 1e-5)
    terms = InstanceLoss().terms(p, target)
    assert float(terms.proximity) == pytest.approx((near * missed - (near + far)) ** 2, rel=1e-6)
    mean = InstanceLoss(proximity="mean").terms(p, target).proximity
    assert float(mean) == pytest.approx((near * missed + (near + far) / 2) / 2, rel=1e-6)


def test_overlap_of_widened_boxes():
    target, p = blank(), blank()
    target[0, 0, 8, 8], p[0, 0, 8, 10] = 1, 1
    # 3 x 3 boxes over columns 6 to 9 and 8 to 11: one column of 3 in common, IoU 3 / 15; around both 3 x 5
    distance = 1 - 3 / 15 + 4 / (9 + 25)
    missed = 1 - 1e-5 / (1 + 1e-5)
    mean = InstanceLoss(proximity="mean").terms(p, target).proximity
    assert float(mean) == pytest.approx((distance * missed + distance) / 2, rel=1e-6)


def test_generalised_iou_takes_the_empty_share_of_the_box_around():
    target, p = blank(), blank()
    target[0, 0, 8, 8], p[0, 0, 8, 10] = 1, 1
    # the same boxes side by side: IoU 3 / 15, nothing empty in the 3 x 5 around them
    missed = 1 - 1e-5 / (1 + 1e-5)
    loss = InstanceLoss(proximity="mean", box_distance="giou")
    assert float(loss.terms(p, target).proximity) == pytest.approx((1 - 3 / 15) * (missed + 1) / 2, rel=1e-6)
    # two rows further down: rows 6 to 9 and 8 to 11, one voxel in common, IoU 1 / 17, 5 x 5 around, 8 of 25 empty
    p = p.roll(2, 2)
    distance = 1 - 1 / 17 + 8 / 25
    assert float(loss.terms(p, target).proximity) == pytest.approx(distance * (missed + 1) / 2, rel=1e-6)


def test_boxes_are_clipped_to_the_volume():
    target, p = blank(10), blank(10)
    target[0, 0, 0, 0:4], p[0, 0, 9, 9] = 1, 1
    # true: rows -2 to 1 -> 0 to 1, centre 0 + ceil(1 / 2) = 1; columns, extent 3: -4 to 6 -> 0 to 6, centre 3
    # predicted: 7 to 10 both, centre 9; around both 10 x 10
    distance = 1 + (64 + 36) / 200
    mean = InstanceLoss(proximity="mean").terms(p, target).proximity
    assert float(mean) == pytest.approx((distance * (1 - 1e-5 / (4 + 1e-5)) + distance) / 2, rel=1e-6)


def test_a_missing_side_is_a_box_in_the_middle():
    p = blank(11)
    p[0, 0, 2, 2] = 0.8
    # the prediction: 0 to 3, centre 2. In the middle: 5 - 1 = 4 to 6, centre 5. Around both 6 x 6
    distance = 1 + 18 / 72
    # no lesion: the whole sample, 1 - 1e-5 / (0.8 + 1e-5)
    whole = 1 - 1e-5 / (0.8 + 1e-5)
    terms = InstanceLoss().terms(p, blank(11))
    assert float(terms.proximity) == pytest.approx((distance * whole - distance * 0.8) ** 2, rel=1e-5)
    # no prediction: 0.05 on the lesion, both sides score 1 - (0.1 + 1e-5) / (0.05 + 1 + 1e-5)
    target = (p > 0).double()
    score = 1 - (0.1 + 1e-5) / (1.05 + 1e-5)
    mean = InstanceLoss(proximity="mean").terms(0.05 * target, target).proximity
    assert float(mean) == pytest.approx(distance * score, rel=1e-6)


def test_neither_side_is_no_distance():
    assert float(InstanceLoss().terms(blank(), blank()).proximity) == 0


def test_three_dimensions():
    target, p = torch.zeros(1, 1, 12, 12, 12, dtype=torch.float64), torch.zeros(1, 1, 12, 12, 12, dtype=torch.float64)
    target[0, 0, 4, 4, 4], p[0, 0, 4, 4, 6] = 1, 1
    # 3 x 3 x 3 boxes, 2 apart: 9 voxels in common, IoU 9 / 45; around both 3 x 3 x 5
    distance = 1 - 9 / 45 + 4 / (9 + 9 + 25)
    mean = InstanceLoss(proximity="mean").terms(p, target).proximity
    assert float(mean) == pytest.approx((distance * (1 - 1e-5 / (1 + 1e-5)) + distance) / 2, rel=1e-6)


def test_tables_of_distances_in_pieces(naive, monkeypatch, soft_batch):
    from monai_instance_loss.losses.terms import proximity as module

    monkeypatch.setattr(module, "_CHUNK", 3)
    logits, target = soft_batch((2, 1, 16, 17), 1)
    expected = naive.terms(torch.sigmoid(logits), target, naive.Options(threshold=0.1))["proximity"]
    actual = InstanceLoss(sigmoid=True).terms(logits, target).proximity
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


def test_boxes_of_another_sample_are_not_near():
    target, p = torch.zeros(2, 1, 20, 20, dtype=torch.float64), torch.zeros(2, 1, 20, 20, dtype=torch.float64)
    target[0, 0, 8, 8] = p[0, 0, 8, 14] = target[1, 0, 8, 8] = p[1, 0, 8, 8] = 1
    # in the first sample 3 x 3 boxes 6 apart, 3 x 9 around both; in the second the lesion is found
    distance = 1 + 36 / (9 + 81)
    missed = 1 - 1e-5 / (1 + 1e-5)
    mean = InstanceLoss(proximity="mean").terms(p, target).proximity
    assert float(mean) == pytest.approx((distance * missed + distance) / 2 / 2, rel=1e-6)
