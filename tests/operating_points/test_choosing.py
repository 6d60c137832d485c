from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_instance_loss.metrics import (
    FalseInstancesMetric,
    InstanceConfusionMatrixMetric,
    InstanceF1Metric,
    Matching,
    MissedInstancesMetric,
)
from monai_instance_loss.operating_points import apply_operating_point, choose_operating_point, point_grid

ONE_TO_ONE = Matching("iou", 0.1, "max_cardinality")
SPACING = (1.0, 1.0, 2.0)


def line(lesions, others=()):
    """A case of lesions and of other places, one voxel each, with these probabilities."""
    p, y = np.zeros((1, 1, 24)), np.zeros((1, 1, 24), np.uint8)
    p[0, 0, : 2 * len(lesions) : 2] = lesions
    y[0, 0, : 2 * len(lesions) : 2] = 1
    p[0, 0, 12 : 12 + 2 * len(others) : 2] = others
    return p, y


# threshold     0.25  0.45  0.65  0.85
# A: detected   3     2     2     1       false  2  1  1    0
# B: detected   3     2     1     1       false  2  1  0    0
# sensitivity   1     2/3   1/2   1/3     mean   2  1  0.5  0
# missed        0     1     1.5   2
CASES = [line((0.9, 0.7, 0.3), (0.8, 0.4, 0.2)), line((0.9, 0.5, 0.3), (0.6, 0.4, 0.2))]
GRID = {"thresholds": (0.25, 0.45, 0.65, 0.85), "min_volumes_mm3": (0,)}


@pytest.mark.parametrize(
    ("budget", "threshold"),
    [
        # F1 of A 6/8, 4/6, 4/6, 2/4; of B 6/8, 4/6, 2/4, 2/4
        ({}, 0.25),
        ({"budget_false": 2}, 0.25),
        ({"budget_false": 1.9}, 0.45),
        ({"budget_false": 1}, 0.45),
        ({"budget_false": 0.5}, 0.65),
        ({"budget_false": 0}, 0.85),
        ({"budget_missed": 0}, 0.25),
        ({"budget_missed": 1}, 0.45),
        ({"budget_missed": 1.99}, 0.65),
        ({"budget_missed": 3}, 0.85),
    ],
)
def test_by_hand(budget, threshold):
    assert choose_operating_point(CASES, **GRID, **budget).threshold == threshold


def test_what_is_told():
    chosen = choose_operating_point(CASES, **GRID, budget_false=0, ignore_index=3).chosen
    assert chosen["objective"] == "most sensitivity within budget_false"
    assert (chosen["budget_false"], chosen["budget_missed"], chosen["ignore_index"]) == (0, None, 3)
    assert (chosen["cases"], chosen["cases_with_lesions"], chosen["lesions"]) == (2, 2, 6)
    assert chosen["matching"] == {
        "criterion": "iou", "threshold": 0.1, "assignment": "max_cardinality", "dilation_mm": 0.0,
        "inclusive": False,
    }  # fmt: skip
    assert chosen["grid"] == {"thresholds": [0.25, 0.45, 0.65, 0.85], "min_volumes_mm3": [0], "high_thresholds": []}
    assert chosen["versions"]["torch"] == torch.__version__
    # both at 0.85: 1 of 3 found, none false, F1 2/4
    third = pytest.approx(1 / 3)
    assert chosen["in_sample"] == {"f1": 0.5, "sensitivity": third, "precision": 1.0, "missed": 2.0, "false": 0.0}
    # B allows 0.65, at which A has 2 of 3 and 1 false (F1 4/6); A allows 0.85, at which B has 1 of 3 and none
    assert chosen["leave_one_out"] == {
        "f1": pytest.approx((2 / 3 + 1 / 2) / 2), "sensitivity": pytest.approx(1 / 2),
        "precision": pytest.approx((2 / 3 + 1) / 2), "missed": 1.5, "false": 0.5,
    }  # fmt: skip


def scores_of(cases, point, matching):
    """Each metric on the mask of each case, (names, cases)."""
    metrics = [
        InstanceF1Metric(matching=matching),
        InstanceConfusionMatrixMetric(metric_name="sensitivity", matching=matching),
        FalseInstancesMetric(matching=matching),
        MissedInstancesMetric(matching=matching),
    ]
    for p, y in cases:
        mask = apply_operating_point(torch.from_numpy(p), point, SPACING)
        for metric in metrics:
            metric(mask[None], torch.from_numpy(y)[None])
    return np.array([metric.aggregate("none").flatten().tolist() for metric in metrics])


@pytest.mark.parametrize(
    ("options", "matching"),
    [
        ({}, ONE_TO_ONE),
        ({"matching": Matching()}, Matching()),
        ({"high_thresholds": (0.5, 0.9)}, ONE_TO_ONE),
        ({"budget_false": 1.5}, ONE_TO_ONE),
        ({"budget_missed": 2.0, "matching": Matching()}, Matching()),
    ],
)
def test_agrees_with_a_loop_over_all_points_with_the_metrics(options, matching, random_cases):
    cases = [*random_cases(3, seed=5), (np.full((1, 14, 12, 10), 0.05), np.zeros((1, 14, 12, 10), np.uint8))]
    grid = {"thresholds": (0.1, 0.3, 0.6, 0.9), "min_volumes_mm3": (0.0, 8.0)}
    points = point_grid(**grid, high_thresholds=options.get("high_thresholds", ()))
    scores = {point: scores_of(cases, point, matching) for point in points}

    def value(point, members):
        f1, sensitivity, false, missed = np.nanmean(scores[point][:, members], axis=1)
        if "budget_false" in options:
            return round(max(false - 1.5, 0), 6), round(-sensitivity, 6), round(false, 6)
        if "budget_missed" in options:
            return round(max(missed - 2.0, 0), 6), round(false, 6), round(missed, 6)
        return (round(-f1, 6),)

    point = choose_operating_point(cases, **grid, **options, spacing_mm=SPACING)
    everyone = range(4)
    assert value(point, everyone) == min(value(other, everyone) for other in points)
    assert point.chosen["in_sample"]["f1"] == pytest.approx(np.nanmean(scores[point][0]))
    # where several points are best for the others, any of them may have been chosen
    lowest, highest = [], []
    for held_out in everyone:
        others = [case for case in everyone if case != held_out]
        best = min(value(other, others) for other in points)
        f1 = [scores[other][0, held_out] for other in points if value(other, others) == best]
        lowest.append(min(f1))
        highest.append(max(f1))
    assert np.nanmean(lowest) - 1e-6 <= point.chosen["leave_one_out"]["f1"] <= np.nanmean(highest) + 1e-6


def test_the_order_of_cases_does_not_matter(random_cases):
    cases = random_cases(5, seed=1)
    options = {"spacing_mm": SPACING, "high_thresholds": (0.8,), "budget_false": 2.0}
    point = choose_operating_point(cases, **options)
    for order in ((4, 3, 2, 1, 0), (2, 0, 4, 1, 3)):
        again = choose_operating_point([cases[index] for index in order], **options)
        assert again == point
        for part in ("in_sample", "leave_one_out"):
            assert again.chosen[part] == pytest.approx(point.chosen[part], abs=1e-12)


def test_of_equal_points_the_plainest():
    cases = [line((0.9, 0.8), ()), line((0.9,), ())]
    point = choose_operating_point(
        cases, thresholds=(0.1, 0.35, 0.65, 0.7), min_volumes_mm3=(1, 0.5), high_thresholds=(0.75,), spacing_mm=(1, 1)
    )
    # 0.35 and 0.65 are as near to 0.5: the lower one
    assert (point.threshold, point.min_volume_mm3, point.high_threshold) == (0.35, 0.5, None)


def test_within_a_budget_of_equal_points_that_with_fewer_errors():
    # 0.5 is plainer, but has a false lesion a case
    cases = [line((0.9,), (0.55,))] * 2
    assert choose_operating_point(cases, thresholds=(0.5, 0.7), min_volumes_mm3=(0,), budget_false=1).threshold == 0.7
    # 0.6 is plainer, but misses a lesion a case
    cases = [line((0.9, 0.58))] * 2
    options = {"thresholds": (0.35, 0.6), "min_volumes_mm3": (0,)}
    assert choose_operating_point(cases, **options, budget_missed=1).threshold == 0.35


def test_hysteresis_and_a_smallest_volume_are_chosen_where_they_are_better():
    # true: 3 voxels that reach 0.9 in one; false: 3 voxels that reach 0.6, and 1 voxel of 0.95
    y = np.array([[[1, 1, 1, 0, 0, 0, 0, 0, 0]]])
    p = np.array([[[0.3, 0.9, 0.3, 0.0, 0.6, 0.6, 0.6, 0.0, 0.95]]])
    point = choose_operating_point(
        [(p, y), (p, y)], thresholds=(0.2, 0.5, 0.8), min_volumes_mm3=(0, 4), high_thresholds=(0.8,), spacing_mm=(1, 2)
    )
    assert (point.threshold, point.min_volume_mm3, point.high_threshold) == (0.2, 4, 0.8)
    assert point.chosen["in_sample"]["f1"] == 1
    np.testing.assert_array_equal(apply_operating_point(p, point, (1, 2)), y)


def test_a_case_without_lesions_counts_for_false_ones_only():
    empty = line((), ())
    plain, more = (choose_operating_point(cases, **GRID).chosen["in_sample"] for cases in (CASES, [*CASES, empty]))
    assert plain["f1"] == more["f1"] == pytest.approx(0.75)
    assert more["false"] == pytest.approx(2 / 3 * plain["false"])
    # 4 false lesions in 3 cases rather than 2
    assert choose_operating_point([*CASES, empty], **GRID, budget_false=1.34).threshold == 0.25


def test_merging_everything_is_not_chosen():
    # by touch one piece over all finds all, and nothing is false
    p = np.where(line((0.6, 0.6, 0.6), (0.4,))[0] > 0, line((0.6, 0.6, 0.6), (0.4,))[0], 0.2)
    cases = [(p, line((1, 1, 1))[1])] * 2
    options = {"thresholds": (0.1, 0.3, 0.7), "min_volumes_mm3": (0,)}
    assert choose_operating_point(cases, **options).threshold == 0.3
    assert choose_operating_point(cases, **options, matching=Matching()).threshold == 0.1


@pytest.mark.parametrize(
    ("cases", "options", "message"),
    [
        ([], {}, "Expected `cases` to be two or more, .* but got 0"),
        (CASES[:1], {}, "Expected `cases` to be two or more, .* but got 1"),
        ([line(()), line((), (0.9,))], {}, "Expected two or more of 2 cases to have a lesion, but got 0"),
        ([CASES[0], line(())], {}, "Expected two or more of 2 cases to have a lesion, but got 1"),
        ([line((0.0,), (0.9,))] * 2, {}, "predictions to find a lesion at some point of the grid, but got none"),
        (CASES, {"budget_false": -1}, "`budget_false` to be finite and 0 or more, but got -1"),
        (
            CASES,
            {"budget_false": 1, "budget_missed": 1},
            "`budget_false` or `budget_missed` to be None, but got 1 and 1",
        ),
        (
            CASES,
            {"thresholds": (0.25, 0.45), "budget_false": 0.5},
            r"Expected `budget_false` to be met .* but got 0.5, and the fewest false lesions a case .* are 1\.",
        ),
        # 0.95 has no false lesions, but finds none either
        (CASES, {"thresholds": (0.25, 0.95), "budget_false": 0}, r"`budget_false` .* but got 0, .* are 2\."),
        (CASES, {"thresholds": (0.65, 0.85), "budget_missed": 1}, r"`budget_missed` .* but got 1, .* are 1\.5\."),
        (CASES, {"thresholds": ()}, "Expected `thresholds` to hold a number, but got none"),
        (CASES, {"min_volumes_mm3": (0, 5)}, "Case 1: Expected `spacing_mm` to be given for `min_volumes_mm3`"),
    ],
)
def test_errors(cases, options, message):
    with pytest.raises(ValueError, match=message):
        choose_operating_point(cases, **{**GRID, **options})


def test_a_wrong_budget_is_told_before_any_case_is_read():
    def cases():
        raise AssertionError("a case was read")
        yield

    with pytest.raises(TypeError, match="`budget_missed` to be a number, but got '1'"):
        choose_operating_point(cases(), budget_missed="1")
    with pytest.raises(ValueError, match=r"`threshold` to be in \(0, 1\], but got 1.5"):
        choose_operating_point(cases(), thresholds=(0.5, 1.5))
