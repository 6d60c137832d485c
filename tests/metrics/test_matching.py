from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.data import MetaTensor

from monai_instance_loss.instances import label_instances
from monai_instance_loss.metrics import InstanceCounts, Matching, match_by_touch, match_instances


def row(*voxels: int) -> torch.Tensor:
    return torch.tensor([[[voxels]]])


def as_lists(counts: InstanceCounts) -> list[list[list[int]]]:
    return [count.tolist() for count in counts]


@st.composite
def mask_pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int | None]:
    dims = draw(st.integers(2, 3))
    shape = draw(st.tuples(*[st.integers(1, 2)] * 2, *[st.integers(1, 6 if dims == 2 else 4)] * dims))
    masks = hnp.arrays(bool, shape, elements=st.booleans(), fill=st.nothing())
    return draw(masks), draw(masks), draw(st.sampled_from([None, *range(1, dims + 1)]))


@settings(max_examples=100, deadline=None)
@given(mask_pairs())
def test_agrees_with_pairwise_loop(naive_counts, case):
    y_pred, y, connectivity = case
    counts = match_by_touch(torch.from_numpy(y_pred), torch.from_numpy(y), connectivity)
    for b, c in np.ndindex(*y.shape[:2]):
        assert tuple(int(count[b, c]) for count in counts) == naive_counts(y_pred[b, c], y[b, c], connectivity)


@settings(max_examples=30, deadline=None)
@given(mask_pairs())
def test_swapping_the_masks_swaps_the_sides(case):
    y_pred, y, connectivity = (torch.from_numpy(case[0]), torch.from_numpy(case[1]), case[2])
    forth, back = match_by_touch(y_pred, y, connectivity), match_by_touch(y, y_pred, connectivity)
    assert as_lists(forth) == as_lists(InstanceCounts(back.matched, back.false, back.detected, back.missed))


@settings(max_examples=30, deadline=None)
@given(mask_pairs(), st.integers(2, 4))
def test_flips_and_transposes_change_nothing(case, axis):
    y_pred, y, connectivity = (torch.from_numpy(case[0]), torch.from_numpy(case[1]), case[2])
    expected = as_lists(match_by_touch(y_pred, y, connectivity))
    axis = min(axis, y.ndim - 1)
    assert as_lists(match_by_touch(y_pred.flip(axis), y.flip(axis), connectivity)) == expected
    assert as_lists(match_by_touch(y_pred.transpose(2, axis), y.transpose(2, axis), connectivity)) == expected


def test_one_prediction_over_two_lesions_detects_both():
    # lesions at 0, 2, 4; predictions 0-2 and 6: two lesions found by one prediction, one missed, one prediction false
    counts = match_by_touch(row(1, 1, 1, 0, 0, 0, 1), row(1, 0, 1, 0, 1, 0, 0))
    assert as_lists(counts) == [[[2]], [[1]], [[1]], [[1]]]


def test_two_predictions_in_one_lesion_both_match():
    counts = match_by_touch(row(1, 0, 1, 0, 0), row(1, 1, 1, 0, 1))
    assert as_lists(counts) == [[[1]], [[1]], [[2]], [[0]]]


def test_a_neighbour_is_no_touch():
    # the prediction lies right beside the lesion and shares no voxel with it
    assert as_lists(match_by_touch(row(0, 1, 0), row(1, 0, 0))) == [[[0]], [[1]], [[0]], [[1]]]


def test_connectivity_decides_how_many_instances_a_diagonal_is():
    y = torch.eye(3)[None, None]
    y_pred = torch.zeros_like(y)
    y_pred[..., 0, 0] = 1
    assert as_lists(match_by_touch(y_pred, y)) == [[[1]], [[0]], [[1]], [[0]]]
    assert as_lists(match_by_touch(y_pred, y, connectivity=1)) == [[[1]], [[2]], [[1]], [[0]]]


def test_samples_and_channels_do_not_mix():
    y, y_pred = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    y[0, 1, 0, 0] = y[1, 2, 3, 3] = 1
    y_pred[0, 1, 0, 0] = y_pred[1, 1, 3, 3] = 1
    detected, missed, matched, false = match_by_touch(y_pred, y)
    assert detected.tolist() == matched.tolist() == [[0, 1, 0], [0, 0, 0]]
    assert missed.tolist() == [[0, 0, 0], [0, 0, 1]]
    assert false.tolist() == [[0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("shape", [(0, 2, 4, 4), (2, 1, 1, 1), (1, 2, 1, 1, 1), (1, 1, 0, 3)])
def test_counts_are_int64_of_batch_and_channels(shape):
    for count in match_by_touch(torch.ones(shape), torch.zeros(shape)):
        assert count.dtype == torch.int64
        assert tuple(count.shape) == shape[:2]


def test_metatensor_gives_plain_counts():
    counts = match_by_touch(MetaTensor(row(1, 0, 1)), MetaTensor(row(1, 0, 0)))
    assert type(counts.matched) is torch.Tensor
    assert as_lists(counts) == [[[1]], [[0]], [[1]], [[1]]]


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"Expected `y` .*\(1, 1, 1, 3\), but got \(1, 1, 1, 2\)"):
        match_by_touch(row(1, 1, 1), row(1, 1))
    with pytest.raises(ValueError, match=r"Expected `connectivity` .* but got 3"):
        match_by_touch(row(1), row(1), connectivity=3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"criterion": "near"}, ValueError, r"Expected `criterion` to be one of \['touch', 'iou', .*, but got 'near'"),
        ({"assignment": "hungarian"}, ValueError, r"Expected `assignment` to be one of .*, but got 'hungarian'"),
        ({"criterion": "iou"}, TypeError, "Expected `threshold` to be a number, but got None"),
        ({"criterion": "iou", "threshold": True}, TypeError, "Expected `threshold` to be a number, but got True"),
        ({"criterion": "dice", "threshold": 1.0}, ValueError, r"Expected `threshold` to be in \[0, 1\), but got 1.0"),
        ({"criterion": "ior", "threshold": -0.1}, ValueError, r"Expected `threshold` to be in \[0, 1\), but got -0.1"),
        ({"criterion": "iou", "threshold": float("nan")}, ValueError, "Expected `threshold` .* but got nan"),
        ({"threshold": 0.5}, ValueError, "Expected `threshold` to be None for the criterion 'touch', but got 0.5"),
        ({"dilation_mm": -1}, ValueError, "Expected `dilation_mm` to be 0 or more and finite, but got -1"),
        ({"dilation_mm": float("inf")}, ValueError, "Expected `dilation_mm` .* but got inf"),
        ({"dilation_mm": "1"}, TypeError, "Expected `dilation_mm` to be a number, but got '1'"),
        (
            {"criterion": "pred_center", "dilation_mm": 1.0},
            ValueError,
            "Expected `dilation_mm` to be 0 for the criterion 'pred_center', but got 1.0",
        ),
    ],
)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        Matching(**options)


# lesions at 0-1 and 3; predictions at 1-3 and 5: IoU 1/4 and 1/3, Dice 2/5 and 1/2, IoR 1/2 and 1; the centre of the
# first prediction, 2, is in no lesion, those of the lesions, 1 and 3, are in it
@pytest.mark.parametrize(
    ("matching", "expected"),
    [
        (None, [(1, 1), (2, 1)]),
        (Matching(assignment="greedy"), [(2, 1)]),
        (Matching("iou", threshold=0.3), [(2, 1)]),
        (Matching("dice", threshold=0.3), [(1, 1), (2, 1)]),
        (Matching("ior", threshold=0.5), [(2, 1)]),
        (Matching("pred_center"), []),
        (Matching("true_center"), [(1, 1), (2, 1)]),
        (Matching("true_center", assignment="optimal"), [(2, 1)]),
        # 2 steps of 1 mm
        (Matching(dilation_mm=1.5), [(1, 1), (2, 1)]),
        (Matching(dilation_mm=2.0), [(1, 1), (2, 1), (2, 2)]),
        (Matching(dilation_mm=2.0, assignment="max_cardinality"), [(1, 1), (2, 2)]),
    ],
)
def test_hand_derived_pairs(matching, expected):
    true, pred = label_instances(row(1, 1, 0, 1, 0, 0)), label_instances(row(0, 1, 1, 1, 0, 1))
    pairs = match_instances(true, pred, matching, spacing_mm=(1, 1))
    assert list(zip(pairs.true_id.tolist(), pairs.pred_id.tolist(), strict=True)) == expected


def test_the_score_of_a_pair_is_its_criterion():
    # both lesions lie in the prediction of 9 voxels, the larger with a Dice score of 10/14, but an IoR of 1 like the
    # smaller; by IoR they tie, and the lower id wins
    true, pred = label_instances(row(1, 1, 0, 0, 1, 1, 1, 1, 1)), label_instances(row(*[1] * 9))
    assert match_instances(true, pred, Matching("dice", 0.1, "greedy")).true_id.tolist() == [2]
    assert match_instances(true, pred, Matching("ior", 0.1, "greedy")).true_id.tolist() == [1]


def test_dilation_without_a_spacing_is_refused():
    true = label_instances(row(1))
    with pytest.raises(ValueError, match="Expected `spacing_mm` to be given for `dilation_mm`, but got None"):
        match_instances(true, true, Matching(dilation_mm=1.0))
    with pytest.raises(ValueError, match="Expected `spacing_mm` to have one value for each of 2 spatial axes"):
        match_instances(true, true, Matching(dilation_mm=1.0), spacing_mm=(1, 1, 1))


def test_a_spacing_for_each_sample_is_taken():
    true, pred = (label_instances(row(*voxels).repeat(2, 1, 1, 1)) for voxels in ((1, 0, 0), (0, 0, 1)))
    spacing = torch.tensor([[1.0, 1.0], [1.0, 3.0]])
    assert match_instances(true, pred, Matching(dilation_mm=2.0), spacing).true_id.tolist() == [1]


@settings(max_examples=30, deadline=None)
@given(mask_pairs(), st.sampled_from(["greedy", "optimal", "max_cardinality"]), st.sampled_from(["touch", "iou"]))
def test_one_partner_each(case, assignment, criterion):
    y_pred, y, connectivity = case
    true, pred = (label_instances(torch.from_numpy(mask), connectivity) for mask in (y, y_pred))
    threshold = 0.25 if criterion == "iou" else None
    pairs = match_instances(true, pred, Matching(criterion, threshold, assignment))
    every = match_instances(true, pred, Matching(criterion, threshold))
    assert pairs.true_id.unique().numel() == pairs.pred_id.unique().numel() == pairs.true_id.numel()
    # an instance that matches nobody has no candidate whose other side is free
    free_true, free_pred = (~found for found in pairs.found())
    assert not (free_true[every.true_id - 1] & free_pred[every.pred_id - 1]).any()


def test_centers_match_by_distance_and_ask_for_the_spacing():
    true, pred = label_instances(row(1, 0, 0, 0, 0, 0, 1)), label_instances(row(0, 1, 0, 1, 0, 0, 0))
    matching = Matching("center_distance", threshold=2.5, assignment="greedy")
    # 1 mm and 3 mm to lesion 1, 5 mm and 3 mm to lesion 2
    pairs = match_instances(true, pred, matching, spacing_mm=(1.0, 1.0))
    assert (pairs.true_id.tolist(), pairs.pred_id.tolist()) == ([1], [1])
    far = Matching("center_distance", threshold=3.5, assignment="optimal")
    pairs = match_instances(true, pred, far, spacing_mm=(1.0, 1.0))
    assert (pairs.true_id.tolist(), pairs.pred_id.tolist()) == ([1, 2], [1, 2])
    with pytest.raises(ValueError, match="Expected `spacing_mm` to be given for `center_distance`, but got None"):
        match_instances(true, pred, matching)


def test_first_choice_is_made_on_the_distances_themselves():
    true, pred = label_instances(row(0, 0, 1, 0, 0)), label_instances(row(1, 0, 0, 0, 1))
    # both are 2 mm away
    matching = Matching("center_distance", threshold=5, assignment="first_choice")
    assert match_instances(true, pred, matching, (1.0, 1.0)).pred_id.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"criterion": "center_distance", "threshold": 0}, "`threshold` to be a distance above 0 mm, but got 0"),
        ({"criterion": "iou", "threshold": 1.0}, r"`threshold` to be in \[0, 1\), but got 1.0"),
        ({"criterion": "iou", "threshold": 1.1, "inclusive": True}, r"`threshold` to be in \[0, 1\], but got 1.1"),
        ({"inclusive": True}, "`inclusive` to be False for the criterion 'touch', but got True"),
    ],
)
def test_thresholds_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        Matching(**options)
    assert Matching("iou", threshold=1.0, inclusive=True).inclusive
