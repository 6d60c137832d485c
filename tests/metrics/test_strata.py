from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monai_instance_loss.instances import instances_from_map
from monai_instance_loss.metrics.strata import checked_edges, group_instances

EDGES = (2.0, 4.5, 20.0)


def test_bins_hold_their_lower_edge():
    # sizes 1, 2, 3 at 2 mm2 a voxel: areas 2, 4, 6
    instances = instances_from_map(torch.tensor([[[[1, 0, 2, 2, 0, 3, 3, 3]]]]))
    sizes, spacing = torch.tensor([1, 2, 3]), torch.tensor([[1.0, 2.0]])
    groups = group_instances(instances, sizes, (2.0, 4.0, 5.0), spacing)
    assert (groups.index.tolist(), tuple(groups.shape)) == ([1, 2, 3], (1, 1, 4))


def test_rounding_of_the_spacing_does_not_decide():
    # ten voxels of a spacing that a float32 affine gives for 0.1 and for 0.7: 1 mm3 and 7 mm3 either way
    instances = instances_from_map(torch.ones(1, 1, 10, 1, 1))
    for step in (0.1, 0.7):
        spacing = torch.tensor([[step, 1.0, 1.0]]).double()
        for nudge in (1 - 1e-8, 1, 1 + 1e-8):
            groups = group_instances(instances, torch.tensor([10]), (step * 10,), spacing * nudge)
            assert groups.index.tolist() == [1]


@settings(max_examples=40)
@given(
    hnp.arrays(np.int16, (2, 2, 4, 4), elements=st.integers(0, 3), fill=st.nothing()),
    st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=4, max_size=4),
)
def test_tables_agree_with_a_loop(values, steps):
    instances = instances_from_map(torch.from_numpy(values))
    labels = instances.labels.numpy()
    sizes = np.array([(labels == k).sum() for k in range(1, instances.count + 1)], dtype=np.int64)
    spacing = torch.tensor(steps, dtype=torch.float64).view(2, 2)
    groups = group_instances(instances, torch.from_numpy(sizes), EDGES, spacing)
    plain = group_instances(instances)
    weights = np.arange(instances.count) + 0.5
    members = sizes % 2 == 1
    counts, sums = np.zeros((2, 2, 4)), np.zeros((2, 2, 4))
    for k in range(instances.count):
        sample, channel = np.argwhere(labels == k + 1)[0][:2]
        volume = sizes[k] * steps[2 * sample] * steps[2 * sample + 1]
        cell = (sample, channel, sum(volume >= edge for edge in EDGES))
        counts[cell] += members[k]
        sums[cell] += weights[k]
    kept, values = torch.from_numpy(members), torch.from_numpy(weights)
    assert groups.count(kept).tolist() == counts.tolist()
    assert plain.count(kept).tolist() == counts.sum(-1).tolist()
    torch.testing.assert_close(groups.sum(values), torch.from_numpy(sums))
    torch.testing.assert_close(plain.sum(values), torch.from_numpy(sums.sum(-1)))


@pytest.mark.parametrize("shape", [(0, 2, 3, 3), (2, 1, 3, 3), (0, 0, 1, 1)])
def test_no_instances_give_tables_of_zeros(shape):
    instances = instances_from_map(torch.zeros(shape))
    none = torch.zeros(0, dtype=torch.int64)
    groups = group_instances(instances, none, EDGES, torch.ones(shape[0], 2))
    assert tuple(groups.count(none.bool()).shape) == (*shape[:2], 4)
    assert not groups.sum(none).any()


@pytest.mark.parametrize(
    ("edges", "error", "message"),
    [
        (5, TypeError, "Expected `volume_edges_mm3` to be None or a sequence, but got int"),
        ("10", TypeError, "Expected `volume_edges_mm3` .* but got str"),
        ((), ValueError, r"Expected `volume_edges_mm3` .*increasing positive finite numbers, but got \(\)"),
        ((3, 3), ValueError, r"but got \(3, 3\)"),
        ((3, 2), ValueError, r"but got \(3, 2\)"),
        ((0, 2), ValueError, r"but got \(0, 2\)"),
        ((1, float("inf")), ValueError, r"but got \(1, inf\)"),
        ((float("nan"),), ValueError, r"but got \(nan,\)"),
    ],
)
def test_bad_edges_are_refused(edges, error, message):
    with pytest.raises(error, match=message):
        checked_edges(edges)


def test_good_edges_become_floats():
    assert checked_edges([1, 2.5]) == (1.0, 2.5)
    assert checked_edges(None) is None
