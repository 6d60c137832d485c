from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monai_instance_loss.metrics import (
    FalseInstancesMetric,
    InstanceConfusionMatrixMetric,
    InstanceCountMetric,
    InstanceCounts,
    InstanceF1Metric,
    Matching,
    MissedInstancesMetric,
)

NAN = float("nan")
pairs = st.tuples(*[hnp.arrays(np.uint8, (3, 2, 5, 5), elements=st.integers(0, 1), fill=st.nothing())] * 2)


def row(*voxels: int) -> torch.Tensor:
    return torch.tensor([[[voxels]]])


# lesions at 0, 2, 4; predictions at 0-2, 6, 8: two lesions found by one prediction, one missed, two predictions false
Y, Y_PRED = row(1, 0, 1, 0, 1, 0, 0, 0, 0), row(1, 1, 1, 0, 0, 0, 1, 0, 1)


def score(name: str, y_pred: torch.Tensor, y: torch.Tensor, reduction: str = "mean", **options: object) -> float:
    metric = InstanceConfusionMatrixMetric(metric_name=name, **options)
    metric(y_pred, y)
    return metric.aggregate(reduction).item()


@pytest.mark.parametrize(
    ("name", "many", "one_to_one"),
    [
        # one to one, the prediction finds one of the two lesions: tp 1, fp 2, fn 2
        ("tp", 2, 1),
        ("fp", 2, 2),
        ("false", 2, 2),
        ("fn", 1, 2),
        ("missed", 1, 2),
        ("sensitivity", 2 / 3, 1 / 3),
        ("precision", 1 / 3, 1 / 3),
        ("f1", 2 * (2 / 3) * (1 / 3), 2 * 1 / (2 * 1 + 2 + 2)),
        ("missed_rate", 1 / 3, 2 / 3),
        ("false_rate", 2 / 3, 2 / 3),
        ("count_difference", 0, 0),
        ("absolute_count_difference", 0, 0),
    ],
)
def test_hand_derived_values(name, many, one_to_one):
    for reduction in ("mean", "pooled", "sum", "none"):
        assert score(name, Y_PRED, Y, reduction) == pytest.approx(many)
        for assignment in ("greedy", "optimal", "max_cardinality"):
            value = score(name, Y_PRED, Y, reduction, matching=Matching(assignment=assignment))
            assert value == pytest.approx(one_to_one)


def test_fbeta_weighs_sensitivity():
    # sensitivity 2/3, precision 1/3: F2 = 5 * (2/9) / (4/3 + 2/3) = 5/9; F0.5 = 1.25 * (2/9) / (1/12 + 2/3) = 10/27
    assert score("fbeta", Y_PRED, Y, beta=2) == pytest.approx(5 / 9)
    assert score("fbeta", Y_PRED, Y, beta=0.5) == pytest.approx(10 / 27)
    assert score("fbeta", Y_PRED, Y) == score("f1", Y_PRED, Y)


def test_differences_keep_their_sign_until_they_are_asked_not_to():
    # one prediction too few in the first sample, two too many in the second
    y = torch.cat([row(1, 0, 1, 0, 0), row(0, 0, 0, 0, 0)])
    y_pred = torch.cat([row(1, 0, 0, 0, 0), row(1, 0, 1, 0, 0)])
    assert score("count_difference", y_pred, y) == 0.5
    assert score("absolute_count_difference", y_pred, y) == 1.5
    assert score("absolute_count_difference", y_pred, y, "pooled") == 1


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("recall", "sensitivity"),
        ("hit rate", "sensitivity"),
        ("PPV", "precision"),
        ("F1 score", "f1"),
        ("miss rate", "missed_rate"),
        ("false_discovery_rate", "false_rate"),
        ("missed", "fn"),
        ("false", "fp"),
    ],
)
def test_other_names_mean_the_same(alias, name):
    assert InstanceConfusionMatrixMetric(metric_name=alias).metric_name == name


def test_several_names_give_a_list_in_their_order():
    metric = InstanceConfusionMatrixMetric(metric_name=["fn", "tp", "f1"])
    metric(Y_PRED, Y)
    assert [value.item() for value in metric.aggregate()] == [1, 2, pytest.approx(4 / 9)]
    metric.get_not_nans = True
    value, not_nans = metric.aggregate()[0]
    assert (value.item(), not_nans.item()) == (1, 1)
    single = InstanceConfusionMatrixMetric(metric_name=("fn",))
    single(Y_PRED, Y)
    (value,) = single.aggregate()
    assert (type(single.aggregate()), value.tolist()) == (list, [1])


EMPTY_CASES = {
    # y_pred, y -> sensitivity, precision, f1, fbeta, missed_rate, false_rate, tp, fp, fn, count_difference
    "both empty": ((0, 0, 0), (0, 0, 0), (NAN, NAN, NAN, NAN, NAN, NAN, 0, 0, 0, 0)),
    "no prediction": ((0, 0, 0), (1, 0, 1), (0, NAN, 0, 0, 1, NAN, 0, 0, 2, -2)),
    "no lesion": ((1, 0, 1), (0, 0, 0), (NAN, 0, 0, 0, NAN, 1, 0, 2, 0, 2)),
    "nothing matches": ((1, 0, 0), (0, 0, 1), (0, 0, 0, 0, 1, 1, 0, 1, 1, 0)),
    "all foreground": ((1, 1, 1), (1, 1, 1), (1, 1, 1, 1, 0, 0, 1, 0, 0, 0)),
    "one voxel": ((1,), (1,), (1, 1, 1, 1, 0, 0, 1, 0, 0, 0)),
}
NAMES = ["sensitivity", "precision", "f1", "fbeta", "missed_rate", "false_rate", "tp", "fp", "fn", "count_difference"]


@pytest.mark.parametrize("case", EMPTY_CASES)
@pytest.mark.parametrize("assignment", ["many", "greedy", "optimal", "max_cardinality"])
@pytest.mark.parametrize("reduction", ["none", "mean", "pooled"])
def test_degenerate_cases(case, assignment, reduction):
    y_pred, y, expected = EMPTY_CASES[case]
    metric = InstanceConfusionMatrixMetric(metric_name=NAMES, matching=Matching(assignment=assignment))
    metric(row(*y_pred), row(*y))
    values = [value.item() for value in metric.aggregate(reduction)]
    assert values == pytest.approx(list(expected), nan_ok=True)


@settings(max_examples=30)
@given(pairs, st.sampled_from([None, 1]))
def test_agrees_with_pairwise_loop(naive_counts, case, connectivity):
    y_pred, y = case
    names = ["tp", "fp", "fn", "sensitivity", "precision", "count_difference"]
    metric = InstanceConfusionMatrixMetric(metric_name=names, connectivity=connectivity)
    metric(torch.from_numpy(y_pred), torch.from_numpy(y))
    scores = dict(zip(names, metric.aggregate("none"), strict=True))
    for b, c in np.ndindex(3, 2):
        detected, missed, matched, false = naive_counts(y_pred[b, c], y[b, c], connectivity)
        true, pred = detected + missed, matched + false
        expected = [
            detected,
            false,
            missed,
            detected / true if true else NAN,
            matched / pred if pred else NAN,
            pred - true,
        ]
        assert [scores[name][b, c].item() for name in names] == pytest.approx(expected, nan_ok=True)


@settings(max_examples=20)
@given(pairs, st.sampled_from(["greedy", "optimal", "max_cardinality"]))
def test_with_one_partner_each_f1_is_that_of_tp_fp_fn(case, assignment):
    y_pred, y = map(torch.from_numpy, case)
    matching = Matching(assignment=assignment)
    metric = InstanceConfusionMatrixMetric(metric_name=["tp", "fp", "fn", "f1"], matching=matching)
    metric(y_pred, y)
    tp, fp, fn, f1 = metric.aggregate("none")
    torch.testing.assert_close(f1, 2 * tp / (2 * tp + fp + fn), equal_nan=True)
    counts = InstanceCounts(*metric.get_buffer().unbind(-1))
    assert torch.equal(counts.detected, counts.matched)


@settings(max_examples=15)
@given(pairs)
def test_the_fronts_say_the_same(case):
    y_pred, y = map(torch.from_numpy, case)
    for front, name in (
        (InstanceF1Metric(), "f1"),
        (MissedInstancesMetric(), "fn"),
        (MissedInstancesMetric(as_rate=True), "missed_rate"),
        (FalseInstancesMetric(), "fp"),
        (FalseInstancesMetric(as_rate=True), "false_rate"),
    ):
        front(y_pred, y)
        assert isinstance(front, InstanceCountMetric)
        assert front.aggregate().item() == pytest.approx(score(name, y_pred, y), nan_ok=True)
        counts = InstanceCounts(*front.get_buffer().unbind(-1))
        torch.testing.assert_close(front.score(counts), front.aggregate("none"), equal_nan=True)


@pytest.mark.parametrize("name", ["specificity", "accuracy", "dice", "", 3, None])
def test_unknown_names_are_refused(name):
    for names in (name, ["f1", name]):
        with pytest.raises(ValueError, match=rf"Expected `metric_name` to be one of \['tp', .*, but got {name!r}"):
            InstanceConfusionMatrixMetric(metric_name=names)


def test_no_name_is_refused():
    with pytest.raises(ValueError, match=r"Expected `metric_name` .* but got \[\]"):
        InstanceConfusionMatrixMetric(metric_name=[])


@pytest.mark.parametrize("beta", [0, -1, float("nan"), float("inf"), "2", True])
def test_bad_beta_is_refused(beta):
    with pytest.raises(ValueError, match=rf"Expected `beta` to be a positive finite number, but got {beta!r}"):
        InstanceConfusionMatrixMetric(metric_name="fbeta", beta=beta)


def test_beta_without_fbeta_is_refused():
    with pytest.raises(ValueError, match="Expected `beta` to be 1 without the score 'fbeta', but got 2"):
        InstanceConfusionMatrixMetric(metric_name=["f1", "tp"], beta=2)
    assert InstanceConfusionMatrixMetric(metric_name=["f1", "fbeta"], beta=2).beta == 2
