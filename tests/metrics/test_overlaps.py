from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monai_instance_loss.instances import instances_from_map, label_instances
from monai_instance_loss.metrics import OverlapTable, overlap_table
from monai_instance_loss.metrics.overlaps import MEASURES

maps = st.tuples(*[hnp.arrays(np.int16, (2, 2, 4, 5), elements=st.integers(0, 3), fill=st.nothing())] * 2)


def row(*voxels: int) -> torch.Tensor:
    return torch.tensor([[[voxels]]])


def table_of(y: torch.Tensor, y_pred: torch.Tensor):
    return overlap_table(instances_from_map(y), instances_from_map(y_pred))


def test_hand_derived_values():
    # true 1 has 3 voxels, true 2 has 2; predicted 1 has 4 voxels, 2 of them in true 1 and 1 in true 2
    table = table_of(row(1, 1, 1, 0, 2, 2), row(0, 1, 1, 1, 1, 0))
    assert (table.true_id.tolist(), table.pred_id.tolist(), table.shared.tolist()) == ([1, 2], [1, 1], [2, 1])
    assert (table.true_voxels.tolist(), table.pred_voxels.tolist()) == ([3, 2], [4])
    assert table.measure("iou").tolist() == pytest.approx([2 / 5, 1 / 5])
    assert table.measure("dice").tolist() == pytest.approx([4 / 7, 2 / 6])
    assert table.measure("ior").tolist() == pytest.approx([2 / 3, 1 / 2])


@settings(max_examples=60)
@given(maps)
def test_agrees_with_pairwise_loop(case):
    y, y_pred = (instances_from_map(torch.from_numpy(values)) for values in case)
    true, pred = y.labels.numpy(), y_pred.labels.numpy()
    table = overlap_table(y, y_pred)
    sizes = [[int((ids == k).sum()) for k in range(1, ids.max() + 1)] for ids in (true, pred)]
    assert [table.true_voxels.tolist(), table.pred_voxels.tolist()] == sizes
    expected = {}
    for i in range(1, true.max() + 1):
        for j in range(1, pred.max() + 1):
            if shared := int(((true == i) & (pred == j)).sum()):
                union = int(((true == i) | (pred == j)).sum())
                expected[i, j] = (shared, shared / union, 2 * shared / (union + shared), shared / sizes[0][i - 1])
    assert list(zip(table.true_id.tolist(), table.pred_id.tolist(), strict=True)) == list(expected)
    values = [table.shared.tolist(), *(table.measure(name).tolist() for name in ("iou", "dice", "ior"))]
    columns = list(zip(*expected.values(), strict=True)) or [()] * 4
    assert values == [pytest.approx(list(column)) for column in columns]


@settings(max_examples=30)
@given(maps, st.sampled_from(sorted(MEASURES)))
def test_unions_agree_with_masks(case, name):
    y, y_pred = (instances_from_map(torch.from_numpy(values)) for values in case)
    table = overlap_table(y, y_pred)
    expected = []
    for i in range(1, y.count + 1):
        own = y.labels == i
        partners = table.pred_id[table.true_id == i]
        union = torch.isin(y_pred.labels, partners.int())
        both = (own & union).sum().item()
        below = {"iou": (own | union).sum(), "dice": (own.sum() + union.sum()) / 2, "ior": own.sum()}[name]
        expected.append(both / below.item())
    assert table.measure_unions(name).tolist() == pytest.approx(expected)


def test_other_pairs_keep_what_is_known_of_them():
    table = table_of(row(1, 1, 0, 2, 3), row(0, 1, 0, 2, 0))
    # (1, 1) shares a voxel, (1, 2) and (3, 1) share none, and (2, 2) is not asked for
    other = table.with_pairs(torch.tensor([3, 1, 1, 1]), torch.tensor([1, 2, 1, 2]))
    assert list(zip(other.true_id.tolist(), other.pred_id.tolist(), other.shared.tolist(), strict=True)) == [
        (1, 1, 1),
        (1, 2, 0),
        (3, 1, 0),
    ]
    assert [found.tolist() for found in other.found()] == [[True, False, True], [True, True]]
    assert [found.tolist() for found in other.select(other.shared > 0).found()] == [[True, False, False], [True, False]]


@pytest.mark.parametrize("shape", [(0, 1, 2, 2), (1, 1, 2, 2), (2, 1, 1, 1, 1)])
def test_without_instances_it_is_empty(shape):
    table = overlap_table(label_instances(torch.zeros(shape)), label_instances(torch.ones(shape)))
    assert table.true_id.numel() == table.true_voxels.numel() == table.measure("iou").numel() == 0
    assert table.measure_unions("dice").numel() == 0
    assert table.pred_voxels.numel() == shape[0]
    assert table.with_pairs(table.true_id, table.pred_id).shared.numel() == 0


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"Expected `pred` .*\(1, 1, 1, 2\), but got \(1, 1, 1, 3\)"):
        overlap_table(label_instances(row(1, 1)), label_instances(row(1, 1, 1)))


def test_what_touches_several_stays_known_whichever_pairs_are_listed():
    # the second lesion lies under the last two predictions
    true, pred = label_instances(row(1, 1, 0, 1, 1, 1, 0, 1)), label_instances(row(1, 0, 1, 1, 0, 1, 0, 0))
    table = overlap_table(true, pred)
    assert (table.merged.tolist(), table.split.tolist()) == ([False, False, False], [False, True, False])
    swapped = overlap_table(pred, true)
    assert (swapped.merged.tolist(), swapped.split.tolist()) == ([False, True, False], [False, False, False])
    for other in (table.select(table.shared < 0), table.with_pairs(torch.tensor([3, 3]), torch.tensor([1, 2]))):
        assert other.split.tolist() == [False, True, False]
        assert not other.merged.any()
    # pairs that share no voxel touch nothing
    sizes = torch.tensor([1, 1]), torch.tensor([4])
    apart = OverlapTable(torch.tensor([1, 2]), torch.tensor([1, 1]), torch.tensor([2, 0]), *sizes)
    assert (apart.merged.tolist(), apart.split.tolist()) == ([False], [False, False])
