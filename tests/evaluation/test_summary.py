from __future__ import annotations

import math

import numpy as np
import pytest

from monai_instance_loss.evaluation.case import CaseResult
from monai_instance_loss.evaluation.summary import compare_models, froc_of, summarise_model

NAN = math.nan


def lesion(case: str, volume: float, status: str, side: str = "reference", partners: str = "") -> dict:
    return {"case": case, "side": side, "volume_mm3": volume, "status": status, "partners": partners}


def test_model_by_hand(scores):
    cases = [
        scores(
            "a",
            dice=0.5,
            recall=0.25,
            n_true=4,
            n_pred=3,
            n_missed=3,
            n_false=2,
            volume_true_ml=2.0,
            volume_pred_ml=1.0,
        ),
        scores("b", dice=0.7, recall=1.0, n_true=1, n_pred=1, volume_true_ml=1.0, volume_pred_ml=1.0),
        scores("c", dice=math.nan, recall=math.nan),
    ]
    lesions = [lesion("a", 5, "missed")] * 3 + [lesion("a", 5, "detected"), lesion("b", 5, "detected")]
    lesions += [lesion("a", 5, "false", "prediction")] * 2 + [lesion("a", 5, "matched", "prediction")] * 2
    summary = summarise_model(cases, lesions, (10.0,))
    assert summary["cases"] == 3
    assert (summary["scores"]["dice"]["mean"], summary["scores"]["dice"]["n"]) == (pytest.approx(0.6), 2)
    assert summary["scores"]["dice"]["sd"] == pytest.approx(0.02**0.5)  # 0.1 on either side of the mean, over n - 1 = 1
    # of each case, and of all lesions together
    assert summary["scores"]["recall"]["mean"] == pytest.approx(0.625)
    assert summary["lesions"]["sensitivity"]["value"] == pytest.approx(2 / 5)
    assert summary["lesions"]["precision"]["value"] == pytest.approx(2 / 4)
    assert [summary["lesions"][name] for name in ("n_true", "n_pred", "n_missed", "n_false")] == [5, 4, 3, 2]
    assert summary["strata"][0]["n_true"] == 5
    assert summary["agreement"]["lesion_count"]["bias"] == pytest.approx(-1 / 3)
    assert summary["agreement"]["volume_ml"]["bias"] == pytest.approx(-1 / 3)


def test_comparison_on_common_cases_only(scores):
    first, second = (
        [scores(case, dice=dice, n_true=1) for case, dice in cases]
        for cases in ((("a", 0.5), ("b", 0.6), ("c", 0.1)), (("b", 0.9), ("a", 0.6), ("d", 1.0)))
    )
    compared = compare_models(first, second)
    assert compared["cases"] == 2
    # a + 0.1, b + 0.3
    assert (compared["scores"]["dice"]["difference"], compared["scores"]["dice"]["n"]) == (pytest.approx(0.2), 2)
    assert (compared["scores"]["dice"]["mean_first"], compared["scores"]["dice"]["mean_second"]) == pytest.approx(
        (0.55, 0.75)
    )
    assert compared["scores"]["f1"]["p_value"] == 1


def test_lesion_free_cases_are_apart(scores):
    # one case of a lesion; two without, of which `first` leaves both empty, and `second` finds 3 and 1 in them
    def model(name, *false):
        free = [
            scores(case, model=name, f1=0.0 if n else NAN, dice=0.0 if n else NAN, n_pred=n, n_false=n,
                   volume_pred_ml=n / 10)
            for case, n in zip("bc", false, strict=True)
        ]  # fmt: skip
        return [scores("a", model=name, f1=0.8, dice=0.6, n_true=1, n_pred=1), *free]

    first, second = model("first", 0, 0), model("second", 3, 1)
    for cases in (first, second):
        means = summarise_model(cases, [], (10.0,))["scores"]
        assert (means["f1"]["mean"], means["f1"]["n"], means["dice"]["n"]) == (0.8, 1, 1)
    assert summarise_model(second, [], (10.0,))["scores"]["n_false"]["mean"] == pytest.approx(4 / 3)
    assert summarise_model(first, [], (10.0,))["lesion_free"]["cases_with_false"] == 0
    assert summarise_model(second, [], (10.0,))["lesion_free"] == pytest.approx(
        {"cases": 2, "cases_with_false": 2, "n_false": 4, "n_false_per_case": 2, "false_volume_ml_per_case": 0.2}
    )
    compared = compare_models(first, second)["scores"]
    assert (compared["f1"]["n"], compared["f1"]["mean_first"], compared["f1"]["mean_second"]) == (1, 0.8, 0.8)
    assert (compared["n_false"]["n"], compared["n_false"]["difference"]) == (3, pytest.approx(4 / 3))
    # where empty cases have a score they count for both
    ones = [scores(case, f1=1.0) for case in "bc"]
    assert summarise_model([first[0], *ones], [], (10.0,), lesion_free_apart=False)["scores"]["f1"]["n"] == 3
    compared = compare_models([first[0], *ones], second, lesion_free_apart=False)["scores"]["f1"]
    assert (compared["n"], compared["difference"]) == (3, pytest.approx(-2 / 3))


def test_comparison_takes_the_cases_in_which_both_have_a_number(scores):
    # the second finds nothing in b, and has no distance there
    first = [scores("a", h95_mm=2.0, n_true=1), scores("b", h95_mm=30.0, n_true=1)]
    second = [scores("a", h95_mm=3.0, n_true=1), scores("b", h95_mm=NAN, n_true=1)]
    test = compare_models(first, second)["scores"]["h95_mm"]
    assert (test["n"], test["mean_first"], test["mean_second"], test["difference"]) == (1, 2, 3, 1)


def test_froc_over_cases():
    # one lesion found at 0.9 and one missed, a false positive at 0.5, in two cases; a third has no map
    first = np.array([[0, 0, 0, 0], [1, 0, 0, 0.9], [2, 0, 0, 0.5]], np.float32)
    second = np.array([[0, 0, 0, 0], [1, 0, 0, 0]], np.float32)
    froc = froc_of([CaseResult("a", froc=first), CaseResult("b", froc=second), CaseResult("c")])
    assert froc["cases"] == 2
    assert froc["curve_fp_per_case"] == [0.5, 0, 0]
    assert froc["curve_sensitivity"] == [0.5, 0.5, 0]
    assert froc["curve_threshold"] == pytest.approx([0.5, 0.9, NAN], nan_ok=True)
    # up to 1/4 false positives a case only the lesion's own candidate is allowed, from 1/2 on both
    points = {point.pop("fp_per_case"): tuple(point.values()) for point in froc["operating_points"]}
    assert points[0.25] == pytest.approx((0.5, 0.9, 0, 0.5))
    assert points[0.5] == pytest.approx((0.5, 0.5, 0.5, 0.5))
    assert froc["score"] == pytest.approx(0.5)
    assert froc_of([CaseResult("c")]) is None


def test_froc_where_the_best_candidate_is_false():
    # four false ones above the lesion's candidate, in one case: 1/8 to 2 a case allow no candidate at all
    rows = np.array([[0, 0, 0, 0], [1, 0, 0, 0.3], *[[2, 0, 0, 0.9]] * 4], np.float32)
    froc = froc_of([CaseResult("a", froc=rows)])
    points = {point.pop("fp_per_case"): tuple(point.values()) for point in froc["operating_points"]}
    # the curve is a line from (4, 0) up to (4, 1)
    assert points[2] == pytest.approx((0, NAN, 0, 0), nan_ok=True)
    assert points[4] == pytest.approx((1, 0.3, 4, 1))
