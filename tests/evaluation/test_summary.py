from __future__ import annotations

import math

import numpy as np
import pytest

from monai_instance_loss.evaluation.case import CaseResult
from monai_instance_loss.evaluation.statistics import wilson_interval
from monai_instance_loss.evaluation.summary import compare_models, froc_of, summarise_model, volume_strata


def lesion(case: str, volume: float, status: str, side: str = "reference") -> dict:
    return {"case": case, "side": side, "volume_mm3": volume, "status": status}


def test_strata_by_hand():
    lesions = [
        lesion("a", 4, "missed"), lesion("a", 9, "detected"), lesion("b", 10, "detected"),
        lesion("b", 1000, "detected"), lesion("b", 9.9999999, "detected"),  # 10, but for the rounding of a header
    ]  # fmt: skip
    small, middle, large = volume_strata(lesions, (10.0, 100.0))
    assert (small["from_mm3"], small["to_mm3"], large["to_mm3"]) == (0, 10, None)
    assert [(row["n_true"], row["n_detected"]) for row in (small, middle, large)] == [(2, 1), (2, 2), (1, 1)]
    assert [row["sensitivity"] for row in (small, middle, large)] == [0.5, 1, 1]
    assert (small["low"], small["high"]) == wilson_interval(1, 2)
    assert small["geometric_mean_mm3"] == pytest.approx(6)  # sqrt(4 * 9)


def test_a_stratum_without_lesions():
    row = volume_strata([], (10.0,))[0]
    assert (row["n_true"], row["n_detected"]) == (0, 0)
    assert all(math.isnan(row[name]) for name in ("sensitivity", "low", "high", "low_by_case", "geometric_mean_mm3"))


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
    first = [scores("a", dice=0.5), scores("b", dice=0.6), scores("c", dice=0.1)]
    second = [scores("b", dice=0.9), scores("a", dice=0.6), scores("d", dice=1.0)]
    compared = compare_models(first, second)
    assert compared["cases"] == 2
    # a + 0.1, b + 0.3
    assert (compared["scores"]["dice"]["difference"], compared["scores"]["dice"]["n"]) == (pytest.approx(0.2), 2)
    assert compared["scores"]["f1"]["p_value"] == 1


def test_froc_over_cases():
    # one lesion found at 0.9 and one missed, a false positive at 0.5, in two cases; a third has no map
    first = np.array([[0, 0, 0, 0], [1, 0, 0, 0.9], [2, 0, 0, 0.5]], np.float32)
    second = np.array([[0, 0, 0, 0], [1, 0, 0, 0]], np.float32)
    froc = froc_of([CaseResult("a", froc=first), CaseResult("b", froc=second), CaseResult("c")])
    assert froc["cases"] == 2
    assert froc["curve_fp_per_case"] == [0.5, 0, 0]
    assert froc["curve_sensitivity"] == [0.5, 0.5, 0]
    assert froc["score"] == pytest.approx(0.5)
    assert froc_of([CaseResult("c")]) is None
