from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.data import MetaTensor

from monai_instance_loss.metrics import InstanceCounts, match_by_touch


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
