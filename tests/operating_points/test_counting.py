from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_instance_loss.metrics import InstanceConfusionMatrixMetric, Matching
from monai_instance_loss.operating_points import OperatingPoint, apply_operating_point, point_grid, tally_points

SPACING = (1.0, 2.0, 3.0)
MATCHINGS = [
    Matching("iou", 0.1, "max_cardinality"),
    Matching("iou", 0.3, "greedy"),
    Matching(),
    Matching("ior", 0.5),
    Matching("touch", assignment="optimal", dilation_mm=3.0),
    Matching("pred_center"),
]


def test_by_hand():
    # at 0.2: one instance over both lesions, and one of 1 voxel; at 0.6: two, and the same
    p, y = np.array([[[0.9, 0.2, 0.7, 0.7, 0.0, 0.8]]]), np.array([[[1, 0, 1, 1, 0, 0]]])
    points = point_grid((0.2, 0.6, 0.95), (0.0, 2.0), (0.85,))
    tally = tally_points([(p, y)], points, Matching("iou", 0.1, "max_cardinality"), spacing_mm=(1, 1))
    names = [(point.threshold, point.min_volume_mm3, point.high_threshold) for point in points]
    # detected, missed, matched, false; IoU 1/4 and 2/4 with the one instance of 4 voxels
    assert dict(zip(names, tally.counts[0].tolist(), strict=True)) == {
        (0.2, 0.0, None): [1, 1, 1, 1],
        (0.2, 0.0, 0.85): [1, 1, 1, 0],
        (0.2, 2.0, None): [1, 1, 1, 0],
        (0.2, 2.0, 0.85): [1, 1, 1, 0],
        (0.6, 0.0, None): [2, 0, 2, 1],
        (0.6, 0.0, 0.85): [1, 1, 1, 0],
        (0.6, 2.0, None): [1, 1, 1, 0],
        (0.6, 2.0, 0.85): [0, 2, 0, 0],
        (0.95, 0.0, None): [0, 2, 0, 0],
        (0.95, 2.0, None): [0, 2, 0, 0],
    }


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("matching", MATCHINGS, ids=str)
def test_counts_are_those_of_the_metric_on_each_mask(matching, ignored, random_cases):
    cases = random_cases(2, seed=3, ignored=ignored)
    points = point_grid((0.1, 0.4, 0.8), (0.0, 13.0, 30.0), (0.6, 0.9))
    ignore_index = 2 if ignored else None
    tally = tally_points(cases, points, matching, SPACING, ignore_index)
    metric = InstanceConfusionMatrixMetric(matching=matching, spacing_mm=SPACING, ignore_index=ignore_index)
    for row, (p, y) in zip(tally.counts, cases, strict=True):
        for counts, point in zip(row, points, strict=True):
            mask = apply_operating_point(torch.from_numpy(p), point, SPACING)
            assert counts.tolist() == metric(mask[None], torch.from_numpy(y)[None])[0, 0].tolist()
    assert len(torch.unique(tally.counts.flatten(0, 1), dim=0)) > 15


def test_connectivity(random_cases):
    ((p, y),) = random_cases(1)
    points = point_grid((0.3,), (0.0, 2.0), connectivity=1)
    tally = tally_points([(p, y)], points, Matching(), (1, 1, 1))
    metric = InstanceConfusionMatrixMetric(connectivity=1)
    for counts, point in zip(tally.counts[0], points, strict=True):
        mask = apply_operating_point(torch.from_numpy(p), point, (1, 1, 1))
        assert counts.tolist() == metric(mask[None], torch.from_numpy(y)[None])[0, 0].tolist()
    with pytest.raises(ValueError, match="one connectivity, but got none or several"):
        tally_points([(p, y)], (OperatingPoint(0.3), OperatingPoint(0.3, connectivity=1)), Matching())


def test_scores_and_lesions():
    p, y = np.array([[[0.9, 0.0, 0.0, 0.6]]]), np.array([[[1, 0, 1, 0]]])
    tally = tally_points([(p, y), (p * 0, y * 0)], point_grid((0.5, 0.7)), Matching())
    assert tally.lesions.tolist() == [2, 0]
    # touch: at 0.5 one of 2 found and one of 2 false, at 0.7 none false: 2 * 1/2 * 1 / (3/2)
    np.testing.assert_array_equal(tally.score("f1"), [[0.5, 1 / 1.5], [np.nan, np.nan]])
    np.testing.assert_array_equal(tally.score("false"), [[1, 0], [0, 0]])


def test_the_voxel_size_of_each_case():
    y = torch.tensor([[[1, 1, 0, 1]]])
    cases = [(MetaTensor(y.float(), affine=torch.diag(torch.tensor([side, 1.0, 1.0]))), y) for side in (1.0, 2.0)]
    tally = tally_points(cases, point_grid((0.5,), (0.0, 2.0, 3.0)), Matching())
    assert tally.counts[..., 0].tolist() == [[2, 1, 0], [2, 2, 1]]


def test_cases_come_one_at_a_time():
    y = np.ones((1, 2, 2))
    order = []

    def cases():
        for number in range(3):
            order.append(number)
            yield y, y

    assert tally_points(cases(), point_grid((0.5,)), Matching()).counts[:, 0, 0].tolist() == [1, 1, 1]
    assert order == [0, 1, 2]


@pytest.mark.parametrize(
    ("p", "y", "error", "message"),
    [
        (
            [[[1.0, 2.0]]],
            [[[0, 1]]],
            ValueError,
            r"Case 2: Expected `y_pred` to hold probabilities in \[0, 1\], but got 2",
        ),
        ([[[1.0, np.nan]]], [[[0, 1]]], ValueError, "Case 2: Expected `y_pred` to hold .* but got nan"),
        ([[[1.0, 0.0]]], [[[0, 2]]], ValueError, "Case 2: Expected `y` to be binary, .* but got 2"),
        ([[[1.0, 0.0]]], [[[0, 1, 1]]], ValueError, r"Case 2: Expected `y` to have the shape of `y_pred`"),
        (
            [[[1.0]], [[0.0]]],
            [[[0]], [[1]]],
            ValueError,
            r"Case 2: Expected `y_pred` to have one channel, .* \(2, 1, 1\)",
        ),
        ([1.0, 0.0], [0, 1], ValueError, r"Case 2: Expected `y_pred` to be \(C, H, W\)"),
    ],
)
def test_a_bad_case_is_named(p, y, error, message):
    good = np.ones((1, 1, 2))
    with pytest.raises(error, match=message):
        tally_points([(good, good), (np.array(p), np.array(y))], point_grid((0.5,)), Matching())


def test_other_errors():
    good = np.ones((1, 1, 2))
    with pytest.raises(TypeError, match=r"Case 1: Expected `y` to be a torch\.Tensor or numpy.ndarray, but got list"):
        tally_points([(good, [[[1]]])], point_grid((0.5,)), Matching())
    with pytest.raises(ValueError, match="Case 1: Expected `spacing_mm` to be given for `min_volumes_mm3`"):
        tally_points([(good, good)], point_grid((0.5,), (2.0,)), Matching())
    with pytest.raises(ValueError, match="Expected `thresholds` to hold a number, but got none"):
        point_grid(())
    with pytest.raises(ValueError, match=r"Expected `threshold` to be in \(0, 1\], but got 0.0"):
        point_grid((0.0, 0.5))
