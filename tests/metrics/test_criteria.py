from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monai_instance_loss.instances import Instances, instances_from_map, label_instances
from monai_instance_loss.metrics.criteria import candidate_pairs, center_distances
from monai_instance_loss.metrics.overlaps import OverlapTable


@st.composite
def map_pairs(draw: st.DrawFn) -> tuple[Instances, Instances]:
    dims = draw(st.integers(2, 3))
    shape = draw(st.tuples(*[st.integers(1, 2)] * 2, *[st.integers(1, 6 if dims == 2 else 4)] * dims))
    ids = st.one_of(st.just(0), st.integers(0, 3))
    values = [draw(hnp.arrays(np.int16, shape, elements=ids, fill=st.nothing())) for _ in range(2)]
    true, pred = (instances_from_map(torch.from_numpy(value)) for value in values)
    return true, pred


def row(*voxels: int) -> Instances:
    return instances_from_map(torch.tensor([[[voxels]]]))


def pairs_of(table: OverlapTable) -> list[tuple[int, int]]:
    return list(zip(table.true_id.tolist(), table.pred_id.tolist(), strict=True))


def voxels_of(instances: Instances) -> list[np.ndarray]:
    """Of each instance the (n, 2 + spatial dims) indices of its voxels."""
    labels = instances.labels.numpy()
    return [np.argwhere(labels == k) for k in range(1, instances.count + 1)]


@settings(max_examples=60)
@given(map_pairs(), st.sampled_from(["iou", "dice", "ior"]), st.sampled_from([0.0, 0.2, 0.5, 2 / 3]))
def test_overlaps_agree_with_pairwise_loop(case, criterion, threshold):
    true, pred = case
    expected = []
    for (i, own), (j, other) in product(enumerate(voxels_of(true), 1), enumerate(voxels_of(pred), 1)):
        both = len(set(map(tuple, own)) & set(map(tuple, other)))
        below = {"iou": len(own) + len(other) - both, "dice": (len(own) + len(other)) / 2, "ior": len(own)}[criterion]
        if both / below > threshold:
            expected.append((i, j))
    assert pairs_of(candidate_pairs(true, pred, criterion, threshold)) == expected


def test_a_pair_exactly_at_the_threshold_is_no_candidate():
    # 1 voxel of 2
    assert pairs_of(candidate_pairs(row(1, 1), row(1, 0), "iou", 0.5)) == []
    assert pairs_of(candidate_pairs(row(1, 1), row(1, 0), "iou", 0.49)) == [(1, 1)]


@settings(max_examples=60)
@given(map_pairs())
def test_centers_agree_with_a_loop(case):
    true, pred = case

    def hits(own: Instances, other: Instances) -> list[tuple[int, int]]:
        found = []
        for k, voxels in enumerate(voxels_of(own), 1):
            block, center = voxels[0][:2], [math.floor(mean + 0.5) for mean in voxels[:, 2:].mean(0)]
            found.append((k, int(other.labels[(*block, *center)])))
        return [(k, hit) for k, hit in found if hit]

    assert pairs_of(candidate_pairs(true, pred, "pred_center")) == sorted((i, j) for j, i in hits(pred, true))
    assert pairs_of(candidate_pairs(true, pred, "true_center")) == hits(true, pred)


def test_a_center_may_lie_outside_its_instance():
    # the prediction surrounds the lesion: its centre of mass, voxel 2, lies in it although they share no voxel
    true, pred = row(0, 0, 1, 0, 0), row(1, 1, 0, 1, 1)
    table = candidate_pairs(true, pred, "pred_center")
    assert (pairs_of(table), table.shared.tolist()) == ([(1, 1)], [0])
    assert pairs_of(candidate_pairs(true, pred, "true_center")) == []


def test_halves_of_a_center_go_up():
    # centre of mass 0.5, rounded to voxel 1
    assert pairs_of(candidate_pairs(row(0, 1), row(1, 1), "pred_center")) == [(1, 1)]
    assert pairs_of(candidate_pairs(row(1, 0), row(1, 1), "pred_center")) == []


@settings(max_examples=60)
@given(
    map_pairs(), st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.2]), st.lists(st.sampled_from([0.5, 0.9, 1.0, 3.0]), min_size=3)
)
def test_dilation_agrees_with_a_loop_over_voxels(case, distance, steps):
    true, pred = case
    dims = len(true.shape) - 2
    spacing = torch.tensor(steps[:dims], dtype=torch.float64).expand(true.shape[0], dims)
    labels = true.labels.numpy()
    touching = set(pairs_of(candidate_pairs(true, pred)))
    # scipy decides between equally near instances: those pairs are allowed, but not required
    sure, possible = set(touching), set(touching)
    for j, voxels in enumerate(voxels_of(pred), 1):
        for voxel in voxels:
            if labels[tuple(voxel)]:
                continue
            near = {}
            for i, others in enumerate(voxels_of(true), 1):
                if (others[0][:2] == voxel[:2]).all():
                    near[i] = np.sqrt((((others - voxel)[:, 2:] * steps[:dims]) ** 2).sum(1)).min()
            nearest = [i for i in near if near[i] <= min(near.values()) + 1e-9 and near[i] <= distance + 1e-9]
            possible |= {(i, j) for i in nearest}
            sure |= {(i, j) for i in nearest if len(nearest) == 1}
    found = set(pairs_of(candidate_pairs(true, pred, dilation_mm=distance, spacing=spacing)))
    assert sure <= found <= possible


def test_center_distance_is_in_mm_and_within_one_sample():
    # centres at voxels 0.5 and 3 of 2 mm: 5 mm apart; the other sample's prediction is nearer and no candidate
    true = label_instances(torch.tensor([[[[1, 1, 0, 0]]], [[[0, 0, 0, 0]]]]))
    pred = label_instances(torch.tensor([[[[0, 0, 0, 1]]], [[[1, 1, 0, 0]]]]))
    spacing = torch.tensor([[1.0, 2.0], [1.0, 2.0]], dtype=torch.float64)
    for threshold, inclusive, expected in ((5.0, False, []), (5.0, True, [(1, 1)]), (5.1, False, [(1, 1)])):
        table = candidate_pairs(
            true, pred, "center_distance", threshold=threshold, spacing=spacing, inclusive=inclusive
        )
        assert pairs_of(table) == expected
        assert table.shared.tolist() == [0] * len(expected)


@settings(max_examples=40)
@given(map_pairs(), st.lists(st.sampled_from([0.5, 0.9, 3.0]), min_size=3))
def test_center_distances_agree_with_a_loop(case, steps):
    true, pred = case
    dims = len(true.shape) - 2
    spacing = torch.tensor(steps[:dims], dtype=torch.float64).expand(true.shape[0], dims)
    expected = {}
    for i, mine in enumerate(voxels_of(true), 1):
        for j, others in enumerate(voxels_of(pred), 1):
            if (mine[0][:2] == others[0][:2]).all():
                step = (mine[:, 2:].mean(0) - others[:, 2:].mean(0)) * steps[:dims]
                expected[i, j] = np.sqrt((step**2).sum())
    table = candidate_pairs(true, pred, "center_distance", threshold=1e9, spacing=spacing)
    assert pairs_of(table) == sorted(expected)
    distances = center_distances(true, pred, table, spacing)
    np.testing.assert_allclose(distances, [expected[pair] for pair in sorted(expected)], rtol=1e-12)


def test_an_overlap_at_the_threshold_meets_it_where_that_is_included():
    # 1 of 2 voxels
    true, pred = row(1, 1), row(1, 0)
    assert pairs_of(candidate_pairs(true, pred, "iou", 0.5)) == []
    assert pairs_of(candidate_pairs(true, pred, "iou", 0.5, inclusive=True)) == [(1, 1)]


def test_dilation_reaches_as_far_as_it_says_and_to_the_nearest():
    true, pred = row(1, 0, 0, 0, 0, 2), row(0, 0, 1, 0, 0, 0)
    spacing = torch.tensor([[1.0, 0.9]], dtype=torch.float64)
    # lesion 1 is 2 * 0.9 = 1.8 mm away and lesion 2 is 2.7 mm away: the latter is never the nearest
    for distance, expected in ((1.79, []), (1.8, [(1, 1)]), (10.0, [(1, 1)])):
        table = candidate_pairs(true, pred, dilation_mm=distance, spacing=spacing)
        assert pairs_of(table) == expected
        assert table.shared.tolist() == [0] * len(expected)


def test_spacing_of_each_sample_counts():
    true, pred = (instances_from_map(torch.tensor([[[values]], [[values]]])) for values in ([1, 0, 0], [0, 0, 1]))
    spacing = torch.tensor([[1.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    assert pairs_of(candidate_pairs(true, pred, dilation_mm=2.0, spacing=spacing)) == [(1, 1)]


@pytest.mark.parametrize("criterion", ["touch", "iou", "pred_center", "true_center", "center_distance", "dilated"])
@pytest.mark.parametrize(("n_true", "n_pred"), [(0, 1), (1, 0), (0, 0)])
@pytest.mark.parametrize("shape", [(0, 1, 2, 2), (1, 1, 1, 1), (2, 1, 2, 2, 1)])
def test_without_instances_there_are_no_pairs(criterion, n_true, n_pred, shape):
    true, pred = (label_instances(torch.full(shape, value)) for value in (n_true, n_pred))
    if criterion == "dilated":
        spacing = torch.ones(shape[0], len(shape) - 2, dtype=torch.float64)
        table = candidate_pairs(true, pred, dilation_mm=1.0, spacing=spacing)
    else:
        table = candidate_pairs(true, pred, criterion)
    assert pairs_of(table) == []
    assert (table.true_voxels.numel(), table.pred_voxels.numel()) == (n_true * shape[0], n_pred * shape[0])
