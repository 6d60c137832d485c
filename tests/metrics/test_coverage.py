from __future__ import annotations

import pytest
import torch

from monai_instance_loss.instances import instances_from_map
from monai_instance_loss.metrics import Coverage, detect_by_coverage, overlap_table


def detected(true: list[int], pred: list[int], **options: float) -> tuple[list[bool], list[bool]]:
    maps = (instances_from_map(torch.tensor([[[voxels]]])) for voxels in (true, pred))
    sides = detect_by_coverage(overlap_table(*maps), Coverage(**options))
    return sides[0].tolist(), sides[1].tolist()


def test_enough_has_to_be_covered():
    # 1 of 10 voxels is not more than a tenth, 2 are
    assert detected([1] * 10, [1] + [0] * 9)[0] == [False]
    assert detected([1] * 10, [1, 1] + [0] * 8)[0] == [True]
    assert detected([1] * 10, [1] + [0] * 9, min_covered=0.05)[0] == [True]


def test_what_covers_must_not_lie_mostly_elsewhere():
    # 7 of 10 voxels outside are not more than 0.7, 8 of 11 are
    assert detected([1] * 3 + [0] * 7, [1] * 10)[0] == [True]
    assert detected([1] * 3 + [0] * 8, [1] * 11)[0] == [False]
    # what lies in another lesion is not outside
    assert detected([1] * 3 + [2] * 8, [1] * 11)[0] == [True, True]


def test_overlaps_are_looked_at_from_the_largest_until_they_are_enough():
    # predictions cover 6, 2 and 2 of 10 voxels; the last, mostly outside, comes third
    true, pred = [1] * 10 + [0] * 8, [1] * 6 + [2] * 2 + [3] * 10
    # 0.6 is not 0.65, and of the two that are next prediction 3, of 10 voxels, is the larger
    assert detected(true, pred)[0] == [False]
    assert detected(true, pred, enough=0.6)[0] == [True]
    # 2 of 10 voxels of prediction 3 are covered, and none of its partners lies outside
    assert detected(true, pred)[1] == [True, True, True]


def test_nothing_detects_nothing():
    assert detected([0, 1], [0, 0]) == ([False], [])
    assert detected([0, 0], [1, 0]) == ([], [False])
    assert detected([1, 0], [0, 1], min_covered=0.0) == ([False], [False])


@pytest.mark.parametrize("name", ["min_covered", "max_outside", "enough"])
def test_options_are_checked(name):
    with pytest.raises(ValueError, match=rf"Expected `{name}` to be in \[0, 1\], but got 1.5"):
        Coverage(**{name: 1.5})
    with pytest.raises(TypeError, match=f"Expected `{name}` to be a number, but got '0.1'"):
        Coverage(**{name: "0.1"})
