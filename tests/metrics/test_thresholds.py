from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from monai_instance_loss.instances import label_instances
from monai_instance_loss.metrics import (
    Matching,
    area_under_thresholds,
    match_at_thresholds,
    match_instances,
    overlap_table,
)

THRESHOLDS = [0.0, 0.1, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("assignment", ["many", "many_to_one", "first_choice", "greedy", "optimal", "max_cardinality"])
@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("criterion", ["iou", "dice", "ior"])
def test_pairs_are_those_of_each_threshold(assignment, inclusive, criterion):
    generator = torch.Generator().manual_seed(0)
    y = torch.rand(1, 1, 14, 14, generator=generator) > 0.6
    y_pred = y ^ (torch.rand(1, 1, 14, 14, generator=generator) > 0.8)
    true, pred = label_instances(y, 1), label_instances(y_pred, 1)
    matching = Matching(criterion, threshold=0.0, assignment=assignment, inclusive=inclusive)
    tables = match_at_thresholds(overlap_table(true, pred), matching, THRESHOLDS)
    counts = []
    for threshold, table in zip(THRESHOLDS, tables, strict=True):
        expected = match_instances(true, pred, replace(matching, threshold=threshold))
        for side in ("true_id", "pred_id", "shared"):
            assert getattr(table, side).tolist() == getattr(expected, side).tolist()
        counts.append(table.true_id.numel())
    assert counts[0] > counts[-1] > 0


def test_area_by_hand():
    # 1 up to 0.5, then a line to 0 at 1: 0.5 + 0.25
    assert area_under_thresholds([1.0, 0.0], [0.5, 1.0]) == 0.75
    assert area_under_thresholds([1.0, 0.0], [0.0, 1.0]) == 0.5
    assert area_under_thresholds([math.nan, math.nan], [0.5, 1.0]) == 0


def test_bad_input_is_refused():
    table = overlap_table(*[label_instances(torch.ones(1, 1, 2, 2))] * 2)
    with pytest.raises(ValueError, match=r"Expected `matching` to be by one of \['iou', .* but got 'touch'"):
        match_at_thresholds(table, Matching(), [0.5])
    with pytest.raises(ValueError, match=r"Expected `threshold` to be in \[0, 1\), but got 1.0"):
        match_at_thresholds(table, Matching("iou", threshold=0.5), [0.5, 1.0])
