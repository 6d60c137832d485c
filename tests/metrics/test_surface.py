from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics import compute_surface_dice

from monai_instance_loss.instances import label_instances
from monai_instance_loss.metrics import (
    SurfaceDistances,
    average_surface_distance,
    hausdorff_distance,
    instance_surface_distances,
    match_instances,
    surface_dice,
    surface_distances,
)

SPACING = (0.5, 1.0, 3.0)


@st.composite
def mask_pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=2, max_size=3)))
    masks = hnp.arrays(bool, shape, elements=st.booleans(), fill=st.nothing())
    return draw(masks), draw(masks)


# MONAI warns of its own call
@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@settings(max_examples=40, deadline=None)
@given(mask_pairs(), st.sampled_from([0.0, 0.7, 1.0, 3.0]))
def test_surface_dice_is_that_of_monai(masks, tolerance):
    y_pred, y = masks
    spacing = SPACING[: y.ndim]
    ours = surface_dice(surface_distances(y_pred, y, spacing), tolerance)
    if not y_pred.any() or not y.any():
        assert math.isnan(ours) if not y_pred.any() and not y.any() else ours == 0
        return
    batches = [torch.from_numpy(mask)[None, None] for mask in masks]
    theirs = compute_surface_dice(
        *batches, [tolerance], include_background=True, spacing=spacing, use_subvoxels=True
    ).item()
    # theirs are single precision
    assert ours == pytest.approx(theirs, abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(mask_pairs())
def test_swapped_masks_swap_the_sides_and_a_margin_changes_nothing(masks):
    spacing = SPACING[: masks[0].ndim]
    distances, back = surface_distances(*masks, spacing), surface_distances(*masks[::-1], spacing)
    padded = surface_distances(*(np.pad(mask, 2) for mask in masks), spacing)
    for ours, theirs, wider in zip(distances, (*back[2:], *back[:2]), padded, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(ours, wider)


def test_percentile_is_that_of_the_area():
    far = np.array([1.0, 2.0, 3.0])
    distances = SurfaceDistances(far, np.array([90.0, 5.0, 5.0]), np.array([0.5]), np.array([1.0]))
    # 90 and 95 of 100 mm2
    assert hausdorff_distance(distances, 90) == 1
    assert hausdorff_distance(distances) == 2
    assert hausdorff_distance(distances, 95.1) == 3
    assert hausdorff_distance(distances, 100) == 3
    # (90 + 10 + 15 + 0.5) / 101
    assert average_surface_distance(distances) == pytest.approx(115.5 / 101)
    # 95 + 1 of 101 mm2
    assert surface_dice(distances, 2.0) == pytest.approx(96 / 101)


def test_one_empty_mask_is_infinitely_far_and_two_have_no_distance():
    full, empty = np.ones((2, 3, 2), bool), np.zeros((2, 3, 2), bool)
    for masks in ((full, empty), (empty, full)):
        distances = surface_distances(*masks, SPACING)
        assert hausdorff_distance(distances) == average_surface_distance(distances) == math.inf
        assert surface_dice(distances, 1e9) == 0
    nothing = surface_distances(empty, empty, SPACING)
    assert all(math.isnan(score) for score in (hausdorff_distance(nothing), average_surface_distance(nothing)))
    assert math.isnan(surface_dice(nothing, 1.0))


def test_instances_are_measured_as_if_alone():
    y, y_pred = torch.zeros(1, 1, 12, 9, 7), torch.zeros(1, 1, 12, 9, 7)
    # split, missed, found; the last prediction is false
    y[..., 1:5, 1:4, 1:3] = y[..., 10, 7, 5] = y[..., 7:9, 1, 5] = 1
    y_pred[..., 1, 1:4, 1:3] = y_pred[..., 4, 1:4, 2:4] = y_pred[..., 8, 1:3, 5] = y_pred[..., 1, 8, 6] = 1
    true, pred = label_instances(y), label_instances(y_pred)
    pairs = match_instances(true, pred)
    measured = list(instance_surface_distances(true, pred, pairs, SPACING))
    assert len(measured) == 3
    for index, distances in enumerate(measured, 1):
        partners = [j for i, j in zip(pairs.true_id.tolist(), pairs.pred_id.tolist(), strict=True) if i == index]
        expected = surface_distances(np.isin(pred.labels[0, 0], partners), true.labels[0, 0] == index, SPACING)
        for ours, theirs in zip(distances, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert [math.isinf(hausdorff_distance(distances)) for distances in measured] == [False, False, True]


def test_bad_input_is_refused():
    mask = np.ones((2, 2, 2), bool)
    with pytest.raises(ValueError, match=r"`y` to be 2D or 3D and as `y_pred`, \(2, 2, 2\), but got \(1, 2, 2\)"):
        surface_distances(mask, mask[:1], SPACING)
    with pytest.raises(ValueError, match="`spacing_mm` to have one value for each of 3 spatial axes"):
        surface_distances(mask, mask, (1.0, 1.0))
    with pytest.raises(TypeError, match="`spacing_mm` to be a sequence, but got None"):
        surface_distances(mask, mask, None)
    distances = surface_distances(mask, mask, SPACING)
    with pytest.raises(ValueError, match=r"`percentile` to be in \[0, 100\], but got 101"):
        hausdorff_distance(distances, 101)
    with pytest.raises(ValueError, match="`tolerance_mm` to be finite and 0 or more, but got -1"):
        surface_dice(distances, -1)
    two = label_instances(torch.ones(2, 1, 2, 2))
    with pytest.raises(ValueError, match=r"`true` to be of one sample and channel, but got shape \(2, 1, 2, 2\)"):
        next(instance_surface_distances(two, two, match_instances(two, two), (1.0, 1.0)))
