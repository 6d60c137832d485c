from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.data import MetaTensor
from monai.metrics import CumulativeIterationMetric

from monai_instance_loss.instances import label_instances
from monai_instance_loss.metrics import (
    FalseInstancesMetric,
    InstanceConfusionMatrixMetric,
    InstanceDiceMetric,
    InstanceF1Metric,
    InstanceIoUMetric,
    InstanceMetric,
    Matching,
    MissedInstancesMetric,
    PanopticQualityMetric,
)

NAN = float("nan")
METRICS = [
    FalseInstancesMetric,
    InstanceConfusionMatrixMetric,
    InstanceDiceMetric,
    InstanceF1Metric,
    InstanceIoUMetric,
    MissedInstancesMetric,
    PanopticQualityMetric,
]
# bins of 1 mm2, 2 mm2, and more
EDGES = {"volume_edges_mm3": (1.5, 2.5), "spacing_mm": (1, 1)}
pairs = st.tuples(*[hnp.arrays(np.uint8, (3, 2, 5, 5), elements=st.integers(0, 1), fill=st.nothing())] * 2)
all_metrics = pytest.mark.parametrize("metric", METRICS)


def row(*voxels: int) -> torch.Tensor:
    return torch.tensor([[[voxels]]])


# lesions of 1, 2 and 3 voxels at 0, 2-3 and 5-7; predictions of 1, 4 and 2 voxels at 0, 3-6 and 9-10
Y, Y_PRED = row(1, 0, 1, 1, 0, 1, 1, 1, 0, 0, 0), row(1, 0, 0, 1, 1, 1, 1, 0, 0, 1, 1)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        # each lesion is found; of the predictions those of 1 and 4 voxels match, and that of 2 does not
        (InstanceConfusionMatrixMetric(metric_name="tp", **EDGES), [1, 1, 1]),
        (InstanceConfusionMatrixMetric(metric_name="precision", **EDGES), [1, 0, 1]),
        (InstanceF1Metric(**EDGES), [1, 0, 1]),
        (MissedInstancesMetric(**EDGES), [0, 0, 0]),
        (FalseInstancesMetric(**EDGES), [0, 1, 0]),
        # the second lesion shares 1 voxel with that of 4, the third 2 voxels
        (InstanceDiceMetric(**EDGES), [1, 2 * 1 / (2 + 4), 2 * 2 / (3 + 4)]),
        (InstanceIoUMetric(**EDGES), [1, 1 / 5, 2 / 5]),
        # above an IoU of 0.3 the prediction of 4 voxels, in the last bin, belongs to the third lesion
        (PanopticQualityMetric(matching=Matching("iou", 0.3, "greedy"), **EDGES), [1, 0, 2 / 5]),
        # by the default matching it belongs to no one
        (PanopticQualityMetric(metric_name="rq", **EDGES), [1, 0, 0]),
    ],
)
def test_hand_derived_bins(metric, expected):
    metric(Y_PRED, Y)
    for reduction in ("mean", "sum", "pooled"):
        value = metric.aggregate(reduction)
        assert tuple(value.shape) == (3,)
        assert value.tolist() == pytest.approx(expected)
    metric.reset()


@settings(max_examples=20)
@given(pairs)
def test_bins_add_up(case):
    y_pred, y = map(torch.from_numpy, case)
    for metric in METRICS:
        binned, plain = metric(**EDGES), metric()
        tally, whole = binned(y_pred, y), plain(y_pred, y)
        assert tally.dtype == whole.dtype
        torch.testing.assert_close(tally.sum(2), whole)


@settings(max_examples=20)
@given(pairs)
def test_a_bin_without_limits_is_all_there_is(case):
    y_pred, y = map(torch.from_numpy, case)
    for metric in METRICS:
        binned, plain = metric(volume_edges_mm3=(1e9,), spacing_mm=(1, 1)), metric()
        for scored in (binned, plain):
            scored(y_pred, y)
        for reduction in ("mean", "pooled", "mean_batch"):
            first = binned.aggregate(reduction)[..., 0]
            torch.testing.assert_close(first, plain.aggregate(reduction).view_as(first), equal_nan=True)


def test_each_sample_brings_its_own_spacing():
    # a lesion of 2 voxels in each: of 2 mm2 in the first sample and of 6 mm2 in the second
    y = [MetaTensor(row(1, 1, 0)[0], affine=torch.diag(torch.tensor([1.0, step, 1]))) for step in (1, 3)]
    metric = InstanceConfusionMatrixMetric(metric_name="tp", volume_edges_mm3=(5,))
    metric([sample.as_tensor() for sample in y], y)
    assert metric.aggregate("none").tolist() == [[[1, 0]], [[0, 1]]]
    batch = MetaTensor(torch.stack([sample.as_tensor() for sample in y]), affine=torch.stack([x.affine for x in y]))
    batch.is_batch = True
    assert metric(batch.as_tensor(), batch).tolist() == metric.get_buffer()[:2].tolist()
    # what is given at construction comes first
    fixed = InstanceConfusionMatrixMetric(metric_name="tp", volume_edges_mm3=(5,), spacing_mm=(1, 1))
    fixed(y, y)
    assert fixed.aggregate("sum").tolist() == [2, 0]


def test_dilation_in_mm_uses_the_spacing():
    # the prediction is 2 voxels of 0.9 mm from the lesion
    y, y_pred = row(1, 0, 0), row(0, 0, 1)
    for distance, found in ((1.7, 0), (1.8, 1)):
        metric = InstanceF1Metric(matching=Matching(dilation_mm=distance), spacing_mm=(5, 0.9))
        metric(y_pred, y)
        assert metric.aggregate().item() == found


@all_metrics
def test_instance_maps_are_taken_as_they_are(metric):
    # two instances that touch each other, which a mask would make one
    y = row(4, 4, 9, 9, 0)
    scored = metric(is_instances=True, get_not_nans=True)
    scored(y, y)
    mask = metric(is_instances=False)
    mask(y > 0, y > 0)
    assert scored.aggregate()[0].item() == mask.aggregate().item()
    counted = InstanceConfusionMatrixMetric(metric_name="tp", is_instances=True)
    counted(y, y)
    assert counted.aggregate().item() == 2


@settings(max_examples=10)
@given(pairs)
def test_masks_and_their_instance_maps_give_the_same(case):
    y_pred, y = map(torch.from_numpy, case)
    maps = [label_instances(mask).labels for mask in (y_pred, y)]
    for metric in METRICS:
        assert torch.equal(metric(is_instances=True)(*maps), metric()(y_pred, y))


def test_ignored_voxels_of_a_map_are_out():
    metric = InstanceF1Metric(is_instances=True, ignore_index=-1)
    assert metric(row(1, 0, 2), row(3, 0, -1)).tolist() == [[[1, 0, 1, 0]]]


@all_metrics
def test_every_metric_takes_the_options_of_the_base(metric):
    base = inspect.signature(InstanceMetric.__init__).parameters
    options = inspect.signature(metric.__init__).parameters
    assert set(base) <= set(options)
    assert all((options[name].default, options[name].kind) == (base[name].default, base[name].kind) for name in base)
    assert list(options)[:6] == list(base)[:6]
    assert issubclass(metric, InstanceMetric)
    assert issubclass(metric, CumulativeIterationMetric)


@all_metrics
def test_every_option_arrives(metric):
    values = {"include_background": False, "reduction": "pooled", "get_not_nans": True, "ignore_index": 7}
    values |= {"matching": Matching("iou", 0.3, "optimal"), "volume_edges_mm3": (1.0,), "spacing_mm": (1.0, 2.0)}
    scored = metric(**values, connectivity=1)
    assert {name: getattr(scored, name) for name in values} == values
    assert scored.connectivity == 1
    assert metric(is_instances=True).is_instances


@pytest.mark.parametrize("options", [{"volume_edges_mm3": (5,)}, {"matching": Matching(dilation_mm=1.0)}])
def test_millimetres_are_never_guessed(options):
    scored = InstanceF1Metric(**options)
    (needs,) = {"volume_edges_mm3", "matching"} & set(options)
    needs = "dilation_mm" if needs == "matching" else needs
    with pytest.raises(ValueError, match=rf"Expected `spacing_mm` to be given for `{needs}`.* but got neither"):
        scored(Y_PRED, Y)
    assert scored.get_buffer() is None
    scored(MetaTensor(Y_PRED), Y)
    assert len(scored) == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"matching": "touch"}, TypeError, "Expected `matching` to be None or a Matching, but got str"),
        ({"volume_edges_mm3": (2, 1)}, ValueError, r"Expected `volume_edges_mm3` to be .* but got \(2, 1\)"),
        ({"spacing_mm": (1, -1)}, ValueError, r"Expected `spacing_mm` to be .* but got \(1, -1\)"),
        ({"spacing_mm": 1.0}, TypeError, "Expected `spacing_mm` to be .* but got float"),
        (
            {"is_instances": True, "connectivity": 2},
            ValueError,
            "Expected `connectivity` to be None for instance maps, which are not labelled, but got 2",
        ),
    ],
)
def test_bad_options_are_refused_at_construction(options, error, message):
    with pytest.raises(error, match=message):
        InstanceF1Metric(**options)
