from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from monai_instance_loss.metrics import (
    FalseInstancesMetric,
    InstanceConfusionMatrixMetric,
    InstanceCounts,
    InstanceF1Metric,
    Matching,
    MissedInstancesMetric,
    match_by_touch,
)

NAN = float("nan")
FRONTS = {
    "f1": InstanceF1Metric,
    "missed": MissedInstancesMetric,
    "missed_rate": lambda **options: MissedInstancesMetric(as_rate=True, **options),
    "false": FalseInstancesMetric,
    "false_rate": lambda **options: FalseInstancesMetric(as_rate=True, **options),
}
pairs = st.tuples(*[hnp.arrays(np.uint8, (3, 2, 5, 5), elements=st.integers(0, 1), fill=st.nothing())] * 2)


def row(*voxels: int) -> torch.Tensor:
    return torch.tensor([[[voxels]]])


# lesions at 0, 2, 4; predictions at 0-2, 6, 8: two lesions found by one prediction, one missed, two predictions false
Y, Y_PRED = row(1, 0, 1, 0, 1, 0, 0, 0, 0), row(1, 1, 1, 0, 0, 0, 1, 0, 1)


def score(name: str, y_pred: torch.Tensor, y: torch.Tensor, reduction: str = "mean", **options: object) -> float:
    metric = InstanceConfusionMatrixMetric(metric_name=name, **options)
    metric(y_pred, y)
    return metric.aggregate(reduction).item()


def front(kind: str, y_pred: torch.Tensor, y: torch.Tensor, reduction: str = "mean", **options: object) -> float:
    metric = FRONTS[kind](**options)
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
        # by touch, whatever the matching: one prediction over two lesions
        ("merged", 1, 1),
        ("split", 0, 0),
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
def test_degenerate_cases(case, assignment):
    y_pred, y, expected = EMPTY_CASES[case]
    names = [*NAMES, "merged", "split"]
    metric = InstanceConfusionMatrixMetric(metric_name=names, matching=Matching(assignment=assignment))
    metric(row(*y_pred), row(*y))
    values = [value.item() for value in metric.aggregate()]
    # nothing is merged or split
    assert values == pytest.approx([*expected, 0, 0], nan_ok=True)


@settings(max_examples=30)
@given(pairs, st.sampled_from([None, 1]))
def test_agrees_with_pairwise_loop(naive_counts, case, connectivity):
    y_pred, y = case
    names = ["tp", "fp", "fn", "sensitivity", "precision", "f1", "count_difference"]
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
            2 / (true / detected + pred / matched) if detected else 0.0 if true + pred else NAN,
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
    names = {"f1": "f1", "missed": "fn", "missed_rate": "missed_rate", "false": "fp", "false_rate": "false_rate"}
    for kind, name in names.items():
        assert front(kind, y_pred, y) == pytest.approx(score(name, y_pred, y), nan_ok=True)


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


def test_one_nan_case_is_left_out_of_the_mean():
    # first sample perfect, second has nothing on either side, third misses its lesion: (1 + 0) / 2
    y_pred, y = torch.tensor([1, 0, 0]).view(3, 1, 1, 1), torch.tensor([1, 0, 1]).view(3, 1, 1, 1)
    metric = InstanceF1Metric(get_not_nans=True)
    metric(y_pred, y)
    value, not_nans = metric.aggregate()
    assert (value.item(), not_nans.item()) == (0.5, 2)


def test_perfect_prediction_is_exactly_one():
    y = (torch.rand(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.9).float()
    assert front("f1", y, y) == front("f1", y, y, "pooled") == 1


def test_true_positives_differ_on_the_two_sides():
    # 2 lesions under 1 of 2 predictions: sensitivity 1, precision 1/2, F1 2/3; 2 TP / (2 TP + FP + FN) would be 4/5
    assert front("f1", row(1, 1, 1, 0, 1), row(1, 0, 1, 0, 0)) == pytest.approx(2 / 3)


def test_include_background_drops_the_first_channel():
    y_pred, y = torch.zeros(1, 2, 1, 4), torch.zeros(1, 2, 1, 4)
    y[0, 0, 0, 0] = y[0, 1, 0, 3] = y_pred[0, 1, 0, 3] = 1
    # channel 0 misses its lesion, channel 1 finds it
    assert front("f1", y_pred, y) == 0.5
    assert front("f1", y_pred, y, include_background=False) == 1
    assert front("f1", y_pred[:, 1:], y[:, 1:], include_background=False) == 1


def test_connectivity_is_passed_on():
    y_pred = torch.eye(3)[None, None]
    assert front("false", y_pred, torch.zeros_like(y_pred)) == 1
    assert front("false", y_pred, torch.zeros_like(y_pred), connectivity=1) == 3


def test_ignored_voxels_split_and_silence_instances():
    # without index 2 the prediction is one false instance; with it, both of its voxels beside the gap remain
    y, y_pred = row(0, 2, 0, 0, 2), row(1, 1, 1, 0, 1)
    assert front("false", y_pred, y, ignore_index=2) == 2


@settings(max_examples=15, deadline=None)
@given(pairs, st.permutations(range(3)), st.integers(0, 3), st.sampled_from(sorted(FRONTS)))
def test_order_split_channels_and_flips_change_nothing(case, order, cut, kind):
    y_pred, y = map(torch.from_numpy, case)
    for reduction in ("mean", "sum", "pooled"):
        expected = pytest.approx(front(kind, y_pred, y, reduction), nan_ok=True)
        assert front(kind, y_pred[order], y[order], reduction) == expected
        assert front(kind, y_pred.flip(1), y.flip(1), reduction) == expected
        assert front(kind, y_pred.flip(2, 3), y.flip(2, 3), reduction) == expected
        split = FRONTS[kind](reduction=reduction)
        split(y_pred[:cut], y[:cut])
        split(y_pred[cut:], y[cut:])
        assert split.aggregate().item() == expected


def test_decollated_samples_may_differ_in_shape():
    metric = MissedInstancesMetric(reduction="sum")
    metric([torch.zeros(1, 2, 2), torch.zeros(1, 3, 3)], [torch.ones(1, 2, 2), torch.eye(3)[None]])
    assert metric.aggregate().item() == 2


def test_call_returns_and_buffers_the_counts():
    y, y_pred = torch.eye(4)[None, None], torch.ones(1, 1, 4, 4)
    metric = InstanceF1Metric(connectivity=1)
    counts = metric(y_pred, y)
    assert counts.dtype == torch.int64
    assert torch.equal(counts, torch.stack(match_by_touch(y_pred, y, 1), -1))
    assert torch.equal(counts, metric.get_buffer())
    assert InstanceCounts(*counts[0, 0].tolist()) == (4, 0, 1, 0)


# a lesion of 9 voxels under three predictions, the last of which lies over two more lesions too
SPLIT_Y, SPLIT_PRED = row(1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 1), row(0, 1, 0, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1)


@pytest.mark.parametrize("matching", [None, Matching("iou", 0.1, "max_cardinality"), Matching("pred_center")])
def test_merged_and_split_are_counted_by_touch(matching):
    options = {"matching": matching}
    assert score("merged", SPLIT_PRED, SPLIT_Y, **options) == score("split", SPLIT_PRED, SPLIT_Y, **options) == 1
    # the other way round the sides change places
    assert score("split", SPLIT_Y, SPLIT_PRED, **options) == score("merged", SPLIT_Y, SPLIT_PRED, **options) == 1
    # a second case with one prediction over two lesions
    y, y_pred = (torch.cat([first, torch.zeros_like(first)]) for first in (SPLIT_Y, SPLIT_PRED))
    y[1, ..., [0, 2]] = y_pred[1, ..., :3] = 1
    assert score("merged", y_pred, y, "sum", **options) == 2
    assert score("split", y_pred, y, "mean", **options) == 0.5


def test_a_prediction_within_reach_merges_nothing():
    # by touch in 1.5 mm the prediction finds both lesions, and shares a voxel with neither
    y, y_pred = row(1, 0, 0, 0, 1), row(0, 1, 1, 1, 0)
    options = {"matching": Matching(dilation_mm=1.5), "spacing_mm": (1, 1)}
    assert score("tp", y_pred, y, **options) == 2
    assert score("merged", y_pred, y, **options) == score("split", y, y_pred, **options) == 0


def test_merged_ones_are_in_the_bin_of_the_prediction_and_split_ones_in_that_of_the_lesion():
    # the prediction over three lesions has 5 voxels, the lesion under three predictions 9
    options = {"volume_edges_mm3": (4, 8), "spacing_mm": (1, 1)}
    metric = InstanceConfusionMatrixMetric(metric_name=["merged", "split", "tp"], **options)
    metric(SPLIT_PRED, SPLIT_Y)
    assert [value.tolist() for value in metric.aggregate()] == [[0, 1, 0], [0, 0, 1], [2, 0, 1]]
    assert tuple(metric.get_buffer().shape) == (1, 1, 3, 6)


def test_merged_and_split_follow_the_four_counts_only_where_they_are_asked_for():
    counts = {}
    for name in ("f1", "merged", "split"):
        counts[name] = InstanceConfusionMatrixMetric(metric_name=name)(SPLIT_PRED, SPLIT_Y)
        assert counts[name].dtype == torch.int64
    # 3 found of 3 lesions, 3 right of 3 predictions
    assert counts["f1"].tolist() == [[[3, 0, 3, 0]]]
    assert counts["merged"].tolist() == counts["split"].tolist() == [[[3, 0, 3, 0, 1, 1]]]


@settings(max_examples=40)
@given(pairs, st.sampled_from([None, 1]), st.sampled_from([None, Matching("iou", 0.2, "greedy")]))
def test_merged_and_split_agree_with_pairwise_loop(case, connectivity, matching):
    names = ["merged", "split"]
    metric = InstanceConfusionMatrixMetric(metric_name=names, connectivity=connectivity, matching=matching)
    metric(*map(torch.from_numpy, case))
    merged, split = metric.aggregate("none")
    structure = ndimage.generate_binary_structure(2, connectivity or 2)
    for b, c in np.ndindex(3, 2):
        (pred, n_pred), (true, n_true) = (ndimage.label(mask[b, c], structure) for mask in case)
        touch = [[((pred == j) & (true == i)).any() for i in range(1, n_true + 1)] for j in range(1, n_pred + 1)]
        assert merged[b, c] == sum(sum(row) >= 2 for row in touch)
        assert split[b, c] == sum(sum(column) >= 2 for column in zip(*touch, strict=True))
