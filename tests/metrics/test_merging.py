from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from monai_instance_loss.instances import label_instances
from monai_instance_loss.metrics import drop_small, merge_nearby


def row(*voxels: int) -> torch.Tensor:
    return torch.tensor([[[voxels]]]) > 0


@pytest.mark.parametrize(("steps", "lesions"), [(0, 3), (1, 3), (2, 2), (3, 1)])
def test_lesions_merge_when_their_dilations_touch(steps, lesions):
    # gaps of 4 and 6 voxels close when both sides have grown by 2 and 3: grown lesions need only touch
    merged = merge_nearby(row(1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1), steps)
    assert merged.instances.count == merged.grown.count == lesions


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(bool, st.tuples(*[st.integers(1, 2)] * 2, *[st.integers(1, 7)] * 3), elements=st.booleans()),
    st.integers(1, 2),
    st.sampled_from([1, None]),
)
def test_agrees_with_labels_of_each_dilated_mask(mask, steps, connectivity):
    merged = merge_nearby(torch.from_numpy(mask), steps, connectivity)
    found = 0
    for index in np.ndindex(mask.shape[:2]):
        grown = ndimage.binary_dilation(mask[index], ndimage.generate_binary_structure(3, 2), steps)
        labels, count = ndimage.label(grown, ndimage.generate_binary_structure(3, connectivity or 3))
        # ids are those of the sample's first lesion on
        np.testing.assert_array_equal(merged.grown.labels[index], np.where(labels, labels + found, 0))
        np.testing.assert_array_equal(merged.instances.labels[index], np.where(mask[index], labels + found, 0))
        found += count
    assert merged.instances.count == found


def test_images_grow_over_their_corners():
    # in 2D all eight neighbours are reached, in 3D all but those across a corner
    image = torch.zeros(1, 1, 3, 3)
    image[..., 1, 1] = 1
    assert int((merge_nearby(image > 0, 1).grown.labels > 0).sum()) == 9
    volume = torch.zeros(1, 1, 3, 3, 3)
    volume[..., 1, 1, 1] = 1
    assert int((merge_nearby(volume > 0, 1).grown.labels > 0).sum()) == 19


def test_nothing_stays_nothing():
    merged = merge_nearby(torch.zeros(2, 1, 4, 4) > 0, 2)
    assert merged.instances.count == merged.grown.count == 0


@pytest.mark.parametrize(
    ("steps", "error", "message"),
    [
        (-1, ValueError, "Expected `steps` to be 0 or more, but got -1"),
        (0.5, TypeError, "Expected `steps` to be an integer, but got 0.5"),
    ],
)
def test_steps_are_checked(steps, error, message):
    with pytest.raises(error, match=message):
        merge_nearby(row(1), steps)


@pytest.mark.parametrize(("largest", "sizes"), [(0, [1, 2, 3]), (1, [2, 3]), (1.9, [2, 3]), (2, [3]), (3, [])])
def test_small_instances_are_dropped_up_to_a_size(largest, sizes):
    kept = drop_small(label_instances(row(1, 0, 1, 1, 0, 1, 1, 1)), largest)
    assert torch.bincount(kept.labels.flatten()).tolist()[1:] == sizes
    assert kept.count == len(sizes)
