from __future__ import annotations

import math

import pytest

from monai_instance_loss.evaluation.lesion_strata import false_strata, merges_and_splits, pooled_rate, volume_strata
from monai_instance_loss.evaluation.statistics import exact_interval, ratio_estimate


def lesion(case: str, volume: float, status: str) -> dict:
    return {"case": case, "volume_mm3": volume, "status": status}


def joined(case: str, side: str, identity: int, partners: str) -> dict:
    return {"case": case, "side": side, "id": identity, "partners": partners}


def test_strata_by_hand():
    lesions = [
        lesion("a", 4, "missed"), lesion("a", 9, "detected"), lesion("b", 10, "detected"),
        lesion("b", 1000, "detected"), lesion("b", 9.9999999, "detected"),  # 10, but for the rounding of a header
    ]  # fmt: skip
    small, middle, large = volume_strata(lesions, (10.0, 100.0))
    assert (small["from_mm3"], small["to_mm3"], large["to_mm3"]) == (0, 10, None)
    assert [(row["n_true"], row["n_detected"]) for row in (small, middle, large)] == [(2, 1), (2, 2), (1, 1)]
    assert [row["sensitivity"] for row in (small, middle, large)] == [0.5, 1, 1]
    assert (small["low"], small["high"]) == exact_interval(1, 2)
    assert small["geometric_mean_mm3"] == pytest.approx(6)  # sqrt(4 * 9)


def test_a_stratum_without_lesions():
    row = volume_strata([], (10.0,))[0]
    assert (row["n_true"], row["n_detected"]) == (0, 0)
    assert all(math.isnan(row[name]) for name in ("sensitivity", "low", "high", "low_by_case", "geometric_mean_mm3"))


def test_false_lesions_by_size_by_hand():
    lesions = [
        lesion("a", 4, "false"), lesion("a", 5, "matched"), lesion("b", 9, "false"), lesion("b", 9, "false"),
        lesion("b", 10, "matched"),
    ]  # fmt: skip
    small, large = false_strata(lesions, (10.0,), cases=5)
    # 3 of 4 small ones, in 5 cases
    assert (small["n_pred"], small["n_false"], small["n_false_per_case"]) == (4, 3, pytest.approx(0.6))
    assert (large["n_pred"], large["n_false"], large["n_false_per_case"]) == (1, 0, 0)
    assert (small["precision"], large["precision"]) == (0.25, 1)
    assert (small["low"], small["high"]) == exact_interval(1, 4)
    assert math.isnan(false_strata([], (10.0,), cases=0)[0]["n_false_per_case"])


def test_merges_and_splits_by_hand():
    rows = [
        # in `a` the predictions 1 and 2 both lie over lesion 2; 1 lies over lesion 1 too
        joined("a", "reference", 1, "1"), joined("a", "reference", 2, "1 2"), joined("a", "reference", 3, ""),
        joined("a", "prediction", 1, "1 2"), joined("a", "prediction", 2, "2"),
        # in `b` two predictions lie over two lesions each: three lesions, as the middle one counts once
        joined("b", "prediction", 1, "1 2"), joined("b", "prediction", 2, "2 3"),
    ]  # fmt: skip
    assert merges_and_splits(rows) == {"n_merges": 3, "n_merged": 5, "n_splits": 1, "n_pieces": 2}
    assert set(merges_and_splits([]).values()) == {0}


def test_a_rate_has_both_intervals():
    tallies = [(k % 3, 3) for k in range(12)]
    rate = pooled_rate(tallies, seed=3)
    assert rate["value"] == pytest.approx(12 / 36)
    assert (rate["low"], rate["high"]) == exact_interval(12, 36)
    assert (rate["low_by_case"], rate["high_by_case"]) == ratio_estimate([k % 3 for k in range(12)], [3] * 12, 3)[1:3]
    assert rate["interval_by_case"] == "BCa bootstrap over cases"


def test_a_perfect_rate_is_no_certainty():
    rate = pooled_rate([(1, 1)] * 12)
    assert rate["low"] == pytest.approx(0.025 ** (1 / 12))
    assert math.isnan(rate["low_by_case"])
    assert rate["interval_by_case"] == "none: all cases alike"
