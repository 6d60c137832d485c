from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from monai_instance_loss.instances import coordinate_sums, fragments, label_instances, merge_boxes
from monai_instance_loss.instances.voxels import voxel_coordinates


def voxels_of(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Voxel indices (V, spatial dims) and zero-based ids (V,) of a single (1, 1, *spatial) map."""
    where = labels[0, 0].nonzero()
    return where, labels[0, 0][tuple(where.T)].long() - 1


@pytest.fixture(params=[(9, 14), (6, 7, 8)], ids=str)
def labels(request: pytest.FixtureRequest) -> torch.Tensor:
    mask = np.random.default_rng(0).random((1, 1, *request.param)) < 0.2
    return label_instances(torch.from_numpy(mask), connectivity=1).labels


def test_boxes_are_those_of_scipy(labels):
    voxels, ids = voxels_of(labels)
    slices = ndimage.find_objects(labels[0, 0].numpy())
    low, high = merge_boxes(voxels, voxels, ids, len(slices))
    assert low.tolist() == [[s.start for s in box] for box in slices]
    assert high.tolist() == [[s.stop - 1 for s in box] for box in slices]
    assert low.dtype == high.dtype == torch.int64


def test_centres_of_mass_are_those_of_scipy(labels):
    voxels, ids = voxels_of(labels)
    count = int(labels.max())
    sums = coordinate_sums(voxels, ids, count)
    array = labels[0, 0].numpy()
    expected = ndimage.center_of_mass(array > 0, array, range(1, count + 1))
    np.testing.assert_allclose(sums.numpy() / np.bincount(ids.numpy())[:, None], expected, rtol=1e-12)
    assert sums.dtype == torch.int64


def test_merging_pieces_is_merging_voxels(labels):
    voxels, ids = voxels_of(labels)
    count = int(labels.max())
    other = label_instances(torch.from_numpy(np.random.default_rng(1).random(labels.shape) < 0.3)).labels
    parts = fragments(labels, other)
    coordinates = torch.stack(voxel_coordinates(parts.position, labels.shape[2:]), 1)
    low, high = merge_boxes(coordinates, coordinates, parts.ids, parts.count)
    sums = coordinate_sums(coordinates, parts.ids, parts.count)
    low, high = merge_boxes(low, high, parts.true, count + 1)
    direct_low, direct_high = merge_boxes(voxels, voxels, ids, count)
    assert torch.equal(low[1:], direct_low)
    assert torch.equal(high[1:], direct_high)
    assert torch.equal(coordinate_sums(sums, parts.true, count + 1)[1:], coordinate_sums(voxels, ids, count))


def test_an_id_that_nothing_has_gets_zeros():
    voxels, ids = torch.tensor([[3, 4], [5, 2]]), torch.tensor([2, 2])
    low, high = merge_boxes(voxels, voxels, ids, 4)
    assert low.tolist() == [[0, 0], [0, 0], [3, 2], [0, 0]]
    assert high.tolist() == [[0, 0], [0, 0], [5, 4], [0, 0]]
    assert coordinate_sums(voxels, ids, 4).tolist() == [[0, 0], [0, 0], [8, 6], [0, 0]]


@pytest.mark.parametrize("dims", [2, 3])
def test_nothing_to_merge(dims):
    nothing, ids = torch.zeros(0, dims, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    for count in (0, 2):
        low, high = merge_boxes(nothing, nothing, ids, count)
        assert low.tolist() == high.tolist() == coordinate_sums(nothing, ids, count).tolist() == [[0] * dims] * count


def test_sums_of_coordinates_stay_exact_beyond_float32():
    # 2^20 voxels at index 511 and one at 510: the sum, 511 * 2^20 + 510, has no float32
    coordinates = torch.full((2**20 + 1, 2), 511)
    coordinates[0] = 510
    sums = coordinate_sums(coordinates, torch.zeros(2**20 + 1, dtype=torch.int64), 1)
    assert sums.tolist() == [[511 * 2**20 + 510] * 2]


def test_arguments_are_left_alone():
    low, high, ids = torch.tensor([[3, 1], [1, 2]]), torch.tensor([[4, 5], [6, 7]]), torch.tensor([0, 0])
    merge_boxes(low, high, ids, 1)
    coordinate_sums(low, ids, 1)
    assert low.tolist() == [[3, 1], [1, 2]]
    assert high.tolist() == [[4, 5], [6, 7]]
    assert ids.tolist() == [0, 0]
