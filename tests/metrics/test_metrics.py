from __future__ import annotations

import inspect
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.data import MetaTensor
from monai.metrics import CumulativeIterationMetric

from monai_instance_loss.metrics import (
    FalseInstancesMetric,
    InstanceCountMetric,
    InstanceCounts,
    InstanceF1Metric,
    MissedInstancesMetric,
    match_by_touch,
)

NAN = float("nan")
KINDS = {
    "f1": InstanceF1Metric,
    "missed": MissedInstancesMetric,
    "missed_rate": lambda **options: MissedInstancesMetric(as_rate=True, **options),
    "false": FalseInstancesMetric,
    "false_rate": lambda **options: FalseInstancesMetric(as_rate=True, **options),
}
pairs = st.tuples(*[hnp.arrays(np.uint8, (3, 2, 5, 5), elements=st.integers(0, 1), fill=st.nothing())] * 2)


def score(kind: str, y_pred: torch.Tensor, y: torch.Tensor, reduction: str = "mean", **options: object) -> float:
    metric = KINDS[kind](**options)
    metric(y_pred, y)
    return metric.aggregate(reduction).item()


def row(*voxels: int) -> torch.Tensor:
    return torch.tensor([[[voxels]]])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # lesions at 0, 2, 4; predictions 0-2, 6, 8: sensitivity 2/3, precision 1/3
        ("f1", 2 * (2 / 3) * (1 / 3) / (2 / 3 + 1 / 3)),
        ("missed", 1),
        ("missed_rate", 1 / 3),
        ("false", 2),
        ("false_rate", 2 / 3),
    ],
)
def test_hand_derived_values(kind, expected):
    y, y_pred = row(1, 0, 1, 0, 1, 0, 0, 0, 0), row(1, 1, 1, 0, 0, 0, 1, 0, 1)
    for reduction in ("mean", "pooled", "sum", "none"):
        assert score(kind, y_pred, y, reduction) == pytest.approx(expected)


# what the two masks hold -> f1, missed, missed_rate, false, false_rate
EMPTY_CASES = {
    "both empty": ((0, 0, 0), (0, 0, 0), (NAN, 0, NAN, 0, NAN)),
    "no prediction": ((0, 0, 0), (1, 0, 1), (0, 2, 1, 0, NAN)),
    "no lesion": ((1, 0, 1), (0, 0, 0), (0, 0, NAN, 2, 1)),
    "nothing matches": ((1, 0, 0), (0, 0, 1), (0, 1, 1, 1, 1)),
    "all foreground": ((1, 1, 1), (1, 1, 1), (1, 0, 0, 0, 0)),
    "one voxel": ((1,), (1,), (1, 0, 0, 0, 0)),
    "one empty voxel": ((0,), (0,), (NAN, 0, NAN, 0, NAN)),
    "fully ignored": ((1, 1, 1), (-1, -1, -1), (NAN, 0, NAN, 0, NAN)),
}


@pytest.mark.parametrize("case", EMPTY_CASES)
@pytest.mark.parametrize("index", range(len(KINDS)))
@pytest.mark.parametrize("reduction", ["none", "mean", "sum", "mean_batch", "pooled"])
def test_degenerate_cases(case, index, reduction):
    y_pred, y, expected = EMPTY_CASES[case]
    value = score(list(KINDS)[index], row(*y_pred), row(*y), reduction, ignore_index=-1)
    assert value == pytest.approx(expected[index], nan_ok=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("empty", [torch.zeros(0, 2, 4, 4), []], ids=["tensor", "list"])
def test_a_batch_of_none_adds_nothing(kind, empty):
    y_pred, y = torch.ones(1, 2, 4, 4), torch.eye(4).expand(1, 2, 4, 4)
    expected = score(kind, y_pred, y)
    for order in ([empty, None], [None, empty]):
        metric = KINDS[kind]()
        for batch in order:
            metric(*((y_pred, y) if batch is None else (batch, batch)))
        assert metric.aggregate().item() == expected
        assert tuple(metric.get_buffer().shape) == (1, 2, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_only_batches_of_none_are_nan(kind):
    metric = KINDS[kind]()
    metric(torch.zeros(0, 2, 4, 4), torch.zeros(0, 2, 4, 4))
    assert metric.aggregate().isnan().all()
    assert len(metric) == 0


def test_one_nan_case_is_left_out_of_the_mean():
    # first sample perfect, second has nothing on either side, third misses its lesion: (1 + 0) / 2
    y_pred, y = torch.tensor([1, 0, 0]).view(3, 1, 1, 1), torch.tensor([1, 0, 1]).view(3, 1, 1, 1)
    metric = InstanceF1Metric(get_not_nans=True)
    metric(y_pred, y)
    value, not_nans = metric.aggregate()
    assert (value.item(), not_nans.item()) == (0.5, 2)


def test_perfect_prediction_is_exactly_one():
    y = (torch.rand(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.9).float()
    assert score("f1", y, y) == score("f1", y, y, "pooled") == 1


def test_true_positives_differ_on_the_two_sides():
    # 2 lesions under 1 of 2 predictions: sensitivity 1, precision 1/2, F1 2/3; 2 TP / (2 TP + FP + FN) would be 4/5
    assert score("f1", row(1, 1, 1, 0, 1), row(1, 0, 1, 0, 0)) == pytest.approx(2 / 3)


def test_include_background_drops_the_first_channel():
    y_pred, y = torch.zeros(1, 2, 1, 4), torch.zeros(1, 2, 1, 4)
    y[0, 0, 0, 0] = y[0, 1, 0, 3] = y_pred[0, 1, 0, 3] = 1
    # channel 0 misses its lesion, channel 1 finds it
    assert score("f1", y_pred, y) == 0.5
    assert score("f1", y_pred, y, include_background=False) == 1
    assert score("f1", y_pred[:, 1:], y[:, 1:], include_background=False) == 1


def test_connectivity_is_passed_on():
    y_pred = torch.eye(3)[None, None]
    assert score("false", y_pred, torch.zeros_like(y_pred)) == 1
    assert score("false", y_pred, torch.zeros_like(y_pred), connectivity=1) == 3


def test_ignored_voxels_split_and_silence_instances():
    # without index 2 the prediction is one false instance; with it, both of its voxels beside the gap remain
    y, y_pred = row(0, 2, 0, 0, 2), row(1, 1, 1, 0, 1)
    assert score("false", y_pred, y, ignore_index=2) == 2


@settings(max_examples=40, deadline=None)
@given(pairs, st.sampled_from([None, 1]))
def test_class_agrees_with_pairwise_loop(naive_counts, case, connectivity):
    y_pred, y = case
    f1, missed, false = (KINDS[kind](reduction="none", connectivity=connectivity) for kind in ("f1", "missed", "false"))
    for metric in (f1, missed, false):
        metric(torch.from_numpy(y_pred), torch.from_numpy(y))
    for b, c in np.ndindex(3, 2):
        detected, n_missed, matched, n_false = naive_counts(y_pred[b, c], y[b, c], connectivity)
        n_true, n_pred = detected + n_missed, matched + n_false
        expected = NAN if n_true + n_pred == 0 else 0.0
        if detected:
            expected = 2 / (n_true / detected + n_pred / matched)
        assert f1.aggregate()[b, c].item() == pytest.approx(expected, nan_ok=True)
        assert (missed.aggregate()[b, c], false.aggregate()[b, c]) == (n_missed, n_false)


@settings(max_examples=15, deadline=None)
@given(pairs, st.permutations(range(3)), st.integers(0, 3), st.sampled_from(sorted(KINDS)))
def test_order_split_channels_and_flips_change_nothing(case, order, cut, kind):
    y_pred, y = map(torch.from_numpy, case)
    for reduction in ("mean", "sum", "pooled"):
        expected = pytest.approx(score(kind, y_pred, y, reduction), nan_ok=True)
        assert score(kind, y_pred[order], y[order], reduction) == expected
        assert score(kind, y_pred.flip(1), y.flip(1), reduction) == expected
        assert score(kind, y_pred.flip(2, 3), y.flip(2, 3), reduction) == expected
        split = KINDS[kind](reduction=reduction)
        split(y_pred[:cut], y[:cut])
        split(y_pred[cut:], y[cut:])
        assert split.aggregate().item() == expected


@pytest.mark.parametrize("spatial", [(6, 6), (4, 4, 4)])
@pytest.mark.parametrize("container", [list, tuple])
def test_decollated_samples_equal_the_batch(spatial, container):
    generator = torch.Generator().manual_seed(1)
    y_pred, y = ((torch.rand(3, 2, *spatial, generator=generator) > 0.8).float() for _ in range(2))
    batch, samples = InstanceF1Metric(), InstanceF1Metric()
    counts = batch(y_pred, y)
    assert torch.equal(samples(container(y_pred), container(MetaTensor(y))), counts)
    assert torch.equal(samples.aggregate(), batch.aggregate())


def test_decollated_samples_may_differ_in_shape():
    metric = MissedInstancesMetric(reduction="sum")
    metric([torch.zeros(1, 2, 2), torch.zeros(1, 3, 3)], [torch.ones(1, 2, 2), torch.eye(3)[None]])
    assert metric.aggregate().item() == 2


def test_lists_of_different_length_are_refused():
    samples = list(torch.zeros(3, 1, 2, 2))
    with pytest.raises(ValueError, match=r"Expected `y` .*as many samples as `y_pred`, 3, but got 2"):
        InstanceF1Metric()(samples, samples[:2])


def test_call_returns_and_buffers_the_counts():
    y, y_pred = torch.eye(4)[None, None], torch.ones(1, 1, 4, 4)
    metric = InstanceF1Metric(connectivity=1)
    counts = metric(y_pred, y)
    assert counts.dtype == torch.int64
    assert torch.equal(counts, torch.stack(match_by_touch(y_pred, y, 1), -1))
    assert torch.equal(counts, metric.get_buffer())
    assert InstanceCounts(*counts[0, 0].tolist()) == (4, 0, 1, 0)


def test_reset_forgets_everything():
    metric = InstanceF1Metric()
    metric(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))
    assert metric.aggregate().item() == 0
    metric.reset()
    with pytest.raises(ValueError, match="Expected InstanceF1Metric to be called before `aggregate`, but got no data"):
        metric.aggregate()
    metric(torch.zeros(0, 1, 2, 2), torch.zeros(0, 1, 2, 2))
    metric.reset()
    assert metric.get_buffer() is None
    metric(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2))
    assert metric.aggregate().item() == 1


def test_aggregate_twice_and_override_leave_the_metric_as_it_was():
    metric = MissedInstancesMetric(as_rate=True)
    metric(torch.zeros(2, 2, 3, 3), torch.eye(3).expand(2, 2, 3, 3))
    first, buffer = metric.aggregate(), metric.get_buffer()
    assert tuple(metric.aggregate("none").shape) == (2, 2)
    assert torch.equal(metric.aggregate(), first)
    assert torch.equal(metric.get_buffer(), buffer)
    assert metric.reduction == "mean"


@pytest.mark.parametrize("metric", [InstanceF1Metric, MissedInstancesMetric, FalseInstancesMetric])
def test_every_metric_takes_the_options_of_the_base(metric):
    base = inspect.signature(InstanceCountMetric.__init__).parameters
    options = inspect.signature(metric.__init__).parameters
    assert list(options)[: len(base)] == list(base)
    assert all(options[name].default == base[name].default for name in base)
    assert issubclass(metric, CumulativeIterationMetric)


def test_survives_pickling():
    metric = FalseInstancesMetric(as_rate=True)
    metric(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))
    assert pickle.loads(pickle.dumps(metric)).aggregate().item() == 1
