from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics.panoptic_quality import compute_panoptic_quality

from monai_instance_loss.instances import label_instances
from monai_instance_loss.metrics import InstanceDiceMetric, Matching, PanopticQuality, PanopticQualityMetric

NAN = float("nan")
NAMES = ["pq", "sq", "rq"]
# written by data/panoptica_cases.py
PANOPTICA = json.loads((Path(__file__).parent / "data" / "panoptica_cases.json").read_text())["cases"]
MATCHINGS = {
    "iou_0.5": None,
    "greedy_0.2": Matching("iou", 0.2, "greedy"),
    "optimal_0.2": Matching("iou", 0.2, "optimal"),
}


def row(*voxels: int) -> torch.Tensor:
    return torch.tensor([[[voxels]]])


def qualities(y_pred: torch.Tensor, y: torch.Tensor, reduction: str = "mean", **options: object) -> list[float]:
    metric = PanopticQualityMetric(metric_name=NAMES, **options)
    metric(y_pred, y)
    return [value.item() for value in metric.aggregate(reduction)]


def test_hand_derived_values():
    # lesions at 0-2, 4-5, 7; predictions at 0-1 (IoU 2/3), 5-6 (IoU 1/3, too little), 9: tp 1, fp 2, fn 2
    y, y_pred = row(1, 1, 1, 0, 1, 1, 0, 1, 0, 0), row(1, 1, 0, 0, 0, 1, 1, 0, 0, 1)
    expected = [(2 / 3) / (1 + 1 + 1), 2 / 3, 1 / 3]
    for reduction in ("mean", "sum", "pooled", "none"):
        assert qualities(y_pred, y, reduction) == pytest.approx(expected)
    # with a lower threshold the second one counts too: IoUs 2/3 and 1/3, tp 2, fp 1, fn 1
    lower = qualities(y_pred, y, matching=Matching("iou", threshold=0.3, assignment="optimal"))
    assert lower == pytest.approx([1 / (2 + 0.5 + 0.5), 1 / 2, 2 / 3])


def test_an_iou_of_one_half_is_no_match():
    assert qualities(row(1, 0), row(1, 1)) == pytest.approx([0, NAN, 0], nan_ok=True)


@pytest.mark.parametrize(
    ("y_pred", "y", "expected"),
    [
        ((0, 0, 0), (0, 0, 0), (NAN, NAN, NAN)),
        ((1, 0, 1), (0, 0, 0), (0, NAN, 0)),
        ((0, 0, 0), (1, 0, 1), (0, NAN, 0)),
        ((1, 0, 0), (0, 0, 1), (0, NAN, 0)),
        ((1, 1, 1), (1, 1, 1), (1, 1, 1)),
        ((1,), (1,), (1, 1, 1)),
    ],
)
def test_degenerate_cases(y_pred, y, expected):
    assert qualities(row(*y_pred), row(*y)) == pytest.approx(list(expected), nan_ok=True)


def test_the_buffer_holds_sums():
    metric = PanopticQualityMetric()
    metric(row(1, 1, 0, 0, 1), row(1, 1, 1, 0, 0))
    assert metric.get_buffer().tolist() == [[[1, 1, 0, pytest.approx(2 / 3)]]]
    assert metric.get_buffer().dtype == torch.float64


@pytest.mark.parametrize("case", range(len(PANOPTICA)))
@pytest.mark.parametrize("matching", MATCHINGS)
def test_agrees_with_panoptica(case, matching):
    case = PANOPTICA[case]
    expected = case["expected"][matching]
    y, y_pred = (torch.zeros(case["shape"], dtype=torch.int64) for _ in range(2))
    for volume, corners in ((y, case["true"]), (y_pred, case["pred"])):
        for value, (low, high) in enumerate(corners, start=1):
            volume[tuple(map(slice, low, high))] = value if case["is_instances"] else 1
    # scipy, which panoptica takes in 2D, joins voxels that share a face
    connectivity = 1 if len(case["shape"]) == 2 and not case["is_instances"] else None
    options = {"connectivity": connectivity, "is_instances": case["is_instances"]}
    metric = PanopticQualityMetric(metric_name=NAMES, matching=MATCHINGS[matching], **options)
    metric(y_pred[None, None], y[None, None])
    assert metric.get_buffer()[0, 0, :3].tolist() == [expected[count] for count in ("tp", "fp", "fn")]
    for name, value in zip(NAMES, metric.aggregate(), strict=True):
        # panoptica gives 0, and we NaN, for the quality of no pair
        if name != "sq" or expected["tp"]:
            assert value.item() == pytest.approx(expected[name])
    # panoptica averages the Dice score over the pairs, and we over the true instances
    dice = InstanceDiceMetric(matching=metric.matching, **options)
    dice(y_pred[None, None], y[None, None])
    pairs, true = expected["tp"], expected["tp"] + expected["fn"]
    assert dice.aggregate().item() == pytest.approx(expected["sq_dsc"] * pairs / true)


@settings(max_examples=40)
@given(st.tuples(*[hnp.arrays(np.int32, (1, 1, 6, 6), elements=st.integers(0, 4), fill=st.just(0))] * 2))
def test_agrees_with_monai_on_instance_maps(case):
    y_pred, y = map(torch.from_numpy, case)
    tp, fp, fn, iou = compute_panoptic_quality(y_pred[0, 0], y[0, 0], output_confusion_matrix=True).tolist()
    metric = PanopticQualityMetric(is_instances=True)
    metric(y_pred, y)
    assert metric.get_buffer()[0, 0].tolist() == pytest.approx([tp, fp, fn, iou], rel=1e-6)
    total = tp + fp / 2 + fn / 2
    assert metric.aggregate().item() == pytest.approx(iou / total if total else NAN, nan_ok=True, rel=1e-6)


@settings(max_examples=15)
@given(st.tuples(*[hnp.arrays(np.uint8, (2, 2, 5, 5), elements=st.integers(0, 1), fill=st.nothing())] * 2))
def test_masks_and_their_instance_maps_give_the_same(case):
    y_pred, y = map(torch.from_numpy, case)
    expected = pytest.approx(qualities(y_pred, y), nan_ok=True)
    assert qualities(label_instances(y_pred).labels, label_instances(y).labels, is_instances=True) == expected
    assert qualities(y_pred.flip(3), y.flip(3)) == expected
    assert qualities(y_pred.flip(0), y.flip(0)) == expected


@pytest.mark.parametrize(("alias", "name"), [("Panoptic Quality", "pq"), ("SQ", "sq"), ("recognition_quality", "rq")])
def test_other_names_mean_the_same(alias, name):
    assert PanopticQualityMetric(metric_name=alias).metric_name == name


def test_the_short_name_is_the_same_class():
    assert PanopticQuality is PanopticQualityMetric


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match=r"Expected `metric_name` to be one of \['pq', 'sq', 'rq'\] .* but got 'dq'"):
        PanopticQualityMetric(metric_name="dq")
    with pytest.raises(ValueError, match=r"Expected the assignment of `matching` to give one partner each, .* 'many'"):
        PanopticQualityMetric(matching=Matching("iou", threshold=0.5))
