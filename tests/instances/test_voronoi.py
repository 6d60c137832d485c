from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from monai_instance_loss.instances import instances_from_map, label_instances
from monai_instance_loss.instances.voronoi import nearest_instance, nearest_instances

# voxel sizes in mm, and the same in a unit in which they are whole numbers, so that scipy's distances are exact
SPACINGS = [
    (None, (1, 1, 1)),
    ((1.0, 2.0, 1.0), (1, 2, 1)),
    ((0.9, 0.9, 3.0), (9, 9, 30)),
    ((0.9375, 0.9375, 3.0), (15, 15, 48)),
    ((1.2, 0.7, 0.7), (12, 7, 7)),
    ((0.3, 0.3, 0.3), (1, 1, 1)),
]


def first_of_the_nearest(labels: np.ndarray, sampling: tuple[int, ...]) -> np.ndarray:
    """CC-Metrics, spelled out: a distance map for each instance of a block, and the first that is smallest."""
    ids = np.unique(labels[labels > 0])
    if not ids.size:
        return np.zeros_like(labels)
    return ids[np.argmin([ndimage.distance_transform_edt(labels != k, sampling=sampling) for k in ids], 0)]


masks = st.builds(
    lambda shape, density, seed: torch.from_numpy(np.random.default_rng(seed).random(shape) < density),
    st.one_of(
        st.tuples(st.integers(1, 2), st.integers(1, 2), *[st.integers(1, 14)] * 2),
        st.tuples(st.just(1), st.integers(1, 2), *[st.integers(1, 8)] * 3),
    ),
    st.sampled_from([0.01, 0.05, 0.1, 0.3]),
    st.integers(0, 2**32 - 1),
)


@settings(max_examples=150)
@given(masks, st.sampled_from(SPACINGS), st.integers(1, 2))
def test_a_tie_goes_to_the_smallest_id_as_in_cc_metrics(mask, spacing, connectivity):
    instances = label_instances(mask, connectivity)
    spacing_mm, sampling = ((None if each is None else each[: mask.ndim - 2]) for each in spacing)
    cells = nearest_instance(instances, spacing_mm)
    assert cells.dtype == torch.int32
    for labels, found in zip(instances.labels.flatten(0, 1).numpy(), cells.flatten(0, 1).numpy(), strict=True):
        assert np.array_equal(found, first_of_the_nearest(labels, sampling))


def test_ties_by_hand():
    # in a row of 0.9 mm voxels, voxel 10 is 9 mm from the end of the row and from the voxel three slices of 3 mm below
    mask = torch.zeros(1, 1, 4, 21, dtype=torch.bool)
    mask[0, 0, 0, 0] = mask[0, 0, 0, 20] = mask[0, 0, 3, 10] = True
    assert nearest_instance(label_instances(mask), (3.0, 0.9))[0, 0, 0, 8:13].tolist() == [1, 1, 1, 2, 2]
    # ids are a map's own where it has them: the same place, now with the smallest id three slices below
    ids = torch.zeros(1, 1, 4, 21, dtype=torch.int32)
    ids[0, 0, 0, 0], ids[0, 0, 0, 20], ids[0, 0, 3, 10] = 2, 3, 1
    assert nearest_instance(instances_from_map(ids), (3.0, 0.9))[0, 0, 0, 8:13].tolist() == [2, 2, 1, 3, 3]


def test_a_flip_moves_ties():
    mask = torch.tensor([[[[1, 0, 0, 0, 1]]]])
    # the middle belongs to the first instance in raster order, which is the other one after a flip
    for each in (mask, mask.flip(-1)):
        assert nearest_instance(label_instances(each)).flatten().tolist() == [1, 1, 1, 2, 2]


@pytest.mark.parametrize("threads", [1, 2])
def test_inference_mode(threads):
    mask = torch.zeros(2, 2, 9, 8, dtype=torch.bool)
    mask[:, 0, 1, 1] = mask[:, 0, 7, 5] = mask[1, 1, 4, 4] = True
    expected = nearest_instance(label_instances(mask))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            found = nearest_instances([label_instances(mask)] * 2)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(cells, expected) for cells in found)


def test_sides_are_kept_apart_and_blocks_without_instances_are_0():
    masks = torch.zeros(2, 2, 2, 5, 6, dtype=torch.bool)
    masks[0, 0, 0, 2, 2] = masks[1, 0, 0, 4, 4] = masks[1, 1, 1, 0, 0] = masks[1, 1, 1, 4, 5] = True
    sides = [label_instances(mask) for mask in masks]
    found = nearest_instances(sides, (1, 1))
    assert all(torch.equal(cells, nearest_instance(side, (1, 1))) for cells, side in zip(found, sides, strict=True))
    assert [cells.flatten(2).unique(dim=2).tolist() for cells in found[:1]] == [[[[1], [0]], [[0], [0]]]]
    assert sorted(found[1][1, 1].unique().tolist()) == [2, 3]


def test_instances_do_not_change():
    instances = label_instances(torch.tensor([[[[1, 0, 0, 1]]]]))
    nearest_instance(instances)
    assert instances.labels.flatten().tolist() == [1, 0, 0, 2]


@pytest.mark.parametrize("shape", [(0, 1, 4, 4), (1, 0, 4, 4), (1, 1, 0, 4), (2, 1, 3, 3, 3), (1, 2, 1, 1)], ids=str)
def test_nothing_to_be_near_to(shape):
    empty = label_instances(torch.zeros(shape))
    assert torch.equal(nearest_instance(empty), torch.zeros(shape, dtype=torch.int32))
    assert nearest_instances([empty, empty], (1.0,) * (len(shape) - 2))[1].shape == shape


@pytest.mark.parametrize("spacing_mm", [(1.0,), (1.0, -1.0), (1.0, 1.0, 1.0), (1.0, float("nan"))], ids=str)
def test_bad_spacing_is_refused(spacing_mm):
    with pytest.raises(ValueError, match="Expected `spacing_mm` to"):
        nearest_instance(label_instances(torch.ones(1, 1, 3, 3)), spacing_mm)
