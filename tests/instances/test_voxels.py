from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monai_instance_loss.instances.voxels import count_voxels, positions, unique_runs, voxel_coordinates


@settings(max_examples=40)
@given(mask=hnp.arrays(bool, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=21)))
def test_positions_are_those_of_nonzero(mask):
    mask = torch.from_numpy(mask)
    assert torch.equal(positions(mask), mask.flatten().nonzero().squeeze(1))


# one voxel in so many, in masks that are a whole number of 64-bit words and in others
@pytest.mark.parametrize("step", [1, 3, 16, 31, 32, 33, 100, 5000])
@pytest.mark.parametrize("shape", [(64, 32, 40), (2, 1, 33, 17, 9), (2, 33, 33, 31)], ids=str)
def test_positions_of_sparse_masks(step, shape):
    mask = (torch.arange(int(np.prod(shape))) % step == step // 2).view(shape)
    # in clumps as well as one by one
    for filled in (mask, mask | mask.roll(1, -1)):
        assert torch.equal(positions(filled), filled.flatten().nonzero().squeeze(1))
        # a mask that lies in memory the other way round, and one with gaps
        assert torch.equal(positions(filled.transpose(0, -1)), filled.transpose(0, -1).flatten().nonzero().squeeze(1))
        assert torch.equal(positions(filled.flatten()[::2]), filled.flatten()[::2].nonzero().squeeze(1))


@pytest.mark.parametrize("offset", range(9))
def test_positions_in_a_view_that_starts_anywhere(offset):
    mask = (torch.arange(40) % 3 == 0)[offset:]
    assert torch.equal(positions(mask), mask.nonzero().squeeze(1))


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5), (1, 6, 1)], ids=str)
def test_coordinates_of_flat_positions(shape):
    # two blocks in front of the spatial axes
    position = torch.arange(2 * int(np.prod(shape)))
    expected = np.unravel_index(position.numpy(), (2, *shape))[1:]
    assert [axis.tolist() for axis in voxel_coordinates(position, shape)] == [axis.tolist() for axis in expected]


@settings(max_examples=40)
@given(mask=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=3, min_side=0, max_side=9)))
def test_voxels_are_counted_row_by_row(mask):
    counted = count_voxels(torch.from_numpy(mask))
    assert counted.dtype == torch.int64
    assert counted.tolist() == [int(row.sum()) for row in mask]


@settings(max_examples=40)
@given(keys=st.lists(st.integers(-3, 3), max_size=30))
def test_runs_of_equal_keys_are_one_key_each(keys):
    distinct, index = unique_runs(torch.tensor(keys, dtype=torch.int64))
    assert distinct.tolist() == sorted(set(keys))
    assert distinct[index].tolist() == keys
