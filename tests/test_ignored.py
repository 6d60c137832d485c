"""One rule for ignored voxels: a voxel is left out that holds the value in any channel."""

from __future__ import annotations

import pytest
import torch

from monai_instance_loss._ignored import ignored_voxels


def test_nothing_is_ignored_without_a_value():
    assert ignored_voxels(torch.zeros(1, 1, 2, 2), None) is None


@pytest.mark.parametrize("value", [0, 1, 2, -1])
def test_voxels_of_one_channel_are_ignored_by_their_value(value):
    target = torch.tensor([[[[0, 1, 2, -1]]]])
    assert ignored_voxels(target, value).tolist() == (target == value).tolist()


def test_voxels_are_ignored_where_any_channel_holds_the_value():
    # MONAI's rule, no channel set, is that of no value: the last voxel is kept
    target = torch.tensor([[[[1, 2, 2, 0]], [[0, 0, 2, 0]]]])
    assert ignored_voxels(target, 2).tolist() == [[[[False, True, True, False]]]]


@pytest.mark.parametrize("value", [0, 1])
def test_values_that_every_channel_holds_ignore_nothing(value):
    message = f"`ignore_index` to be neither 0 nor 1 for 2 channels, but got {value}"
    with pytest.raises(ValueError, match=message):
        ignored_voxels(torch.zeros(1, 2, 3, 3), value)


@pytest.mark.parametrize(("dtype", "value"), [(torch.uint8, -1), (torch.uint8, 257), (torch.int8, 255)])
def test_a_value_out_of_the_range_of_the_dtype_is_nowhere(dtype, value):
    # -1 wraps around onto 255 in uint8, and 255 onto -1 in int8
    target = torch.tensor([[[[0, 1, -1]]]]).to(dtype)
    assert not ignored_voxels(target, value).any()
