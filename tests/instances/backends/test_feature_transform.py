from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from monai_instance_loss.instances.backends import feature_transform
from monai_instance_loss.instances.backends.feature_transform import _search_lines, nearest_labels


def random_labels(shape: tuple[int, ...], density: float, seed: int, labels: int = 4) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, labels + 1, shape) * (rng.random(shape) < density)
    return torch.from_numpy(ids.astype(np.int32))


def naive(block: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Every voxel against every labelled one: the smallest (squared distance, label)."""
    result = np.zeros_like(block)
    where = np.argwhere(block)
    for voxel in np.ndindex(*block.shape):
        squared = (((where - voxel) * spacing) ** 2).sum(1)
        if where.size:
            result[voxel] = block[tuple(where[squared == squared.min()].T)].min()
    return result


def distances(block: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    return ndimage.distance_transform_edt(block == 0, sampling=spacing)


shapes = st.one_of(
    st.tuples(st.integers(1, 3), *[st.integers(1, 9)] * 2), st.tuples(st.integers(1, 2), *[st.integers(1, 5)] * 3)
)


# squared distances are whole numbers here, so that ties are exact
@settings(max_examples=60)
@given(shapes, st.sampled_from([0.02, 0.1, 0.5]), st.integers(0, 2**32 - 1), st.tuples(*[st.integers(1, 3)] * 3))
def test_labels_are_those_of_a_search_over_all_voxels(shape, density, seed, spacing):
    labels = random_labels(shape, density, seed)
    spacing = tuple(map(float, spacing[: len(shape) - 1]))
    expected = np.stack([naive(block, spacing) for block in labels.numpy()])
    found = nearest_labels(labels, spacing)
    assert found.dtype == torch.int32
    assert np.array_equal(found.numpy(), expected)


@settings(max_examples=40)
@given(
    shapes,
    st.sampled_from([0.02, 0.1, 0.5]),
    st.integers(0, 2**32 - 1),
    st.tuples(*[st.floats(0.1, 7.0, allow_subnormal=False)] * 3),
)
def test_distances_are_those_of_scipy(shape, density, seed, spacing):
    labels = random_labels(shape, density, seed)
    spacing = spacing[: len(shape) - 1]
    for block, found in zip(labels.numpy(), nearest_labels(labels, spacing).numpy(), strict=True):
        if not block.any():
            assert not found.any()
            continue
        reached = np.zeros(block.shape)
        for label in np.unique(found):
            # a label that is not in the block would have no distance to be near by
            assert (block == label).any()
            cell = found == label
            reached[cell] = distances(np.where(block == label, label, 0), spacing)[cell]
        np.testing.assert_allclose(reached, distances(block, spacing), rtol=1e-12)
        assert np.array_equal(found[block > 0], block[block > 0])


def test_values_by_hand():
    labels = torch.zeros(1, 3, 5, dtype=torch.int32)
    labels[0, 0, 0], labels[0, 2, 3] = 2, 1
    # squared distances to 2 at (0, 0) and to 1 at (2, 3): (0, 2) has 4 and 5, (1, 1) has 2 and 5, (2, 1) has 5 and 4;
    # (0, 3) has 9 and 4, (1, 2) has 5 and 2, (2, 0) has 4 and 9
    assert nearest_labels(labels, (1.0, 1.0))[0].tolist() == [[2, 2, 2, 1, 1], [2, 2, 1, 1, 1], [2, 1, 1, 1, 1]]
    # rows three apart: (0, 3) has 9 and 36, (1, 1) has 10 and 13, (1, 2) has 13 and 10, (2, 0) has 36 and 9
    assert nearest_labels(labels, (3.0, 1.0))[0].tolist() == [[2, 2, 2, 2, 2], [2, 2, 1, 1, 1], [1, 1, 1, 1, 1]]


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_of_equally_near_labels_the_smallest_wins(order):
    # the middle column is as far from one as from the other
    labels = torch.zeros(1, 3, 3, dtype=torch.int32)
    labels[0, 1, 0], labels[0, 1, 2] = order
    assert nearest_labels(labels, (1.0, 1.0))[0, :, 1].tolist() == [1, 1, 1]
    # the same along each other axis
    for axes in ((0, 2, 1), (0, 1, 2)):
        turned = nearest_labels(labels.permute(axes), (1.0, 1.0)).permute(axes)
        assert turned[0, :, 1].tolist() == [1, 1, 1]


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (1, 1, 1), (2, 1, 1, 1), (1, 1, 6), (1, 6, 1)], ids=str)
def test_small_and_empty_maps(shape):
    empty = torch.zeros(shape, dtype=torch.int32)
    assert torch.equal(nearest_labels(empty, (1.0,) * (len(shape) - 1)), empty)
    full = torch.full(shape, 7, dtype=torch.int64)
    assert torch.equal(nearest_labels(full, (1.0,) * (len(shape) - 1)), full)


def test_blocks_do_not_see_each_other():
    labels = torch.zeros(3, 4, 4, dtype=torch.int32)
    labels[0, 0, 0], labels[2, 3, 3] = 5, 6
    assert nearest_labels(labels, (1.0, 1.0)).flatten(1).unique(dim=1).tolist() == [[5], [0], [6]]


@pytest.mark.parametrize("piece", [1, 7, 60])
def test_pieces_make_no_difference(monkeypatch, piece):
    labels = random_labels((2, 5, 6, 7), 0.05, 1)
    expected = nearest_labels(labels, (1.0, 2.0, 0.5))
    monkeypatch.setattr(feature_transform, "_CPU_LINES", piece)
    assert torch.equal(nearest_labels(labels, (1.0, 2.0, 0.5)), expected)


@settings(max_examples=40)
@given(shapes, st.sampled_from([0.02, 0.2]), st.integers(0, 2**32 - 1), st.sampled_from([(1, 1, 1), (0.7, 1.1, 3)]))
def test_keys_of_64_bits_find_what_keys_of_32_bits_find(shape, density, seed, spacing):
    labels, spacing = random_labels(shape, density, seed), spacing[: len(shape) - 1]
    expected = nearest_labels(labels, spacing)
    # ids that leave no room for a distance in 32 bits, and next to none for digits of the voxel sizes in 64
    for offset in (2**24, 2**31 - 5):
        found = nearest_labels(labels.long() + offset * (labels > 0), spacing)
        assert torch.equal(found - offset * (found > 0), expected.long())


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 9), st.sampled_from([torch.int32, torch.int64]), st.integers(0, 2**32 - 1))
def test_numpy_and_torch_search_alike(extent, lines, dtype, seed):
    rng = np.random.default_rng(seed)
    never = torch.iinfo(dtype).max // 2 + 1
    keys = rng.integers(0, 2**12, (extent, lines))
    keys = np.where(rng.random(keys.shape) < 0.7, never, keys).astype(np.dtype(str(dtype)[6:]))
    steps = np.arange(extent)
    cost = ((steps[:, None] - steps) ** 2 * 64).astype(keys.dtype)
    found = _search_lines(np, keys, cost, steps, never, never)
    assert np.array_equal(found, (keys[:, None] + cost[:, :, None]).min(0).clip(max=never))
    arrays = (torch.from_numpy(array) for array in (keys, cost, steps))
    assert np.array_equal(_search_lines(torch, *arrays, never, never).numpy(), found)


def test_flips_and_layouts_make_no_difference_and_the_input_stays():
    labels = random_labels((2, 6, 7, 8), 0.03, 2)
    before = labels.clone()
    expected = nearest_labels(labels, (1.0, 1.5, 2.0))
    assert torch.equal(labels, before)
    for axis in (1, 2, 3):
        assert torch.equal(nearest_labels(labels.flip(axis), (1.0, 1.5, 2.0)).flip(axis), expected)
    turned = nearest_labels(labels.permute(0, 3, 1, 2), (2.0, 1.0, 1.5))
    assert torch.equal(turned, expected.permute(0, 3, 1, 2))
    assert torch.equal(nearest_labels(labels[1:], (1.0, 1.5, 2.0)), expected[1:])


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu():
    labels = random_labels((2, 40, 50, 60), 0.001, 3, labels=50)
    for spacing in ((1.0, 1.0, 1.0), (3.0, 0.9375, 0.9375)):
        assert torch.equal(nearest_labels(labels.cuda(), spacing).cpu(), nearest_labels(labels, spacing))
