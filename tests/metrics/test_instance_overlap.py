from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics import compute_dice, compute_iou
from scipy import ndimage

from monai_instance_loss.metrics import InstanceDiceMetric, InstanceIoUMetric, Matching

NAN = float("nan")
METRICS = {"dice": InstanceDiceMetric, "iou": InstanceIoUMetric}
pairs = st.tuples(*[hnp.arrays(np.uint8, (2, 2, 5, 5), elements=st.integers(0, 1), fill=st.nothing())] * 2)


def row(*voxels: int) -> torch.Tensor:
    return torch.tensor([[[voxels]]])


def score(name: str, y_pred: torch.Tensor, y: torch.Tensor, reduction: str = "mean", **options: object) -> float:
    metric = METRICS[name](**options)
    metric(y_pred, y)
    return metric.aggregate(reduction).item()


# lesions at 0-3, 5 and 7; predictions at 0-1, 3-5 and 9
Y, Y_PRED = row(1, 1, 1, 1, 0, 1, 0, 1, 0, 0), row(1, 1, 0, 1, 1, 1, 0, 0, 0, 1)


@pytest.mark.parametrize(
    ("name", "assignment", "expected"),
    [
        # the first lesion shares 3 voxels with two predictions of 2 + 3 voxels, the second 1 voxel with that of 3
        ("dice", "many", (2 * 3 / (4 + 5) + 2 * 1 / (1 + 3) + 0) / 3),
        ("iou", "many", (3 / (4 + 5 - 3) + 1 / 3 + 0) / 3),
        # partners: the first prediction (2 shared voxels) and the second one
        ("dice", "optimal", (2 * 2 / (4 + 2) + 2 * 1 / (1 + 3) + 0) / 3),
        ("iou", "optimal", (2 / 4 + 1 / 3 + 0) / 3),
    ],
)
def test_hand_derived_values(name, assignment, expected):
    for reduction in ("mean", "pooled", "none"):
        assert score(name, Y_PRED, Y, reduction, matching=Matching(assignment=assignment)) == pytest.approx(expected)


def test_false_instances_do_not_enter():
    assert score("dice", row(1, 0, 1, 0, 1), row(1, 0, 0, 0, 0)) == 1


def test_pooled_weighs_instances_and_mean_weighs_samples():
    # 1 of 1 segmented perfectly in the first sample, 1 of 3 in the second
    y, y_pred = torch.cat([row(1, 0, 0, 0, 0), row(1, 0, 1, 0, 1)]), torch.cat([row(1, 0, 0, 0, 0)] * 2)
    assert score("iou", y_pred, y) == pytest.approx((1 + 1 / 3) / 2)
    assert score("iou", y_pred, y, "pooled") == pytest.approx(2 / 4)


@settings(max_examples=30)
@given(pairs, st.sampled_from(sorted(METRICS)))
def test_agrees_with_monai_on_each_lesion_and_what_touches_it(case, name):
    y_pred, y = case
    metric = METRICS[name]()
    metric(torch.from_numpy(y_pred), torch.from_numpy(y))
    reference = {"dice": compute_dice, "iou": compute_iou}[name]
    for b, c in np.ndindex(2, 2):
        true, n_true = ndimage.label(y[b, c], np.ones((3, 3)))
        pred, _ = ndimage.label(y_pred[b, c], np.ones((3, 3)))
        values = []
        for i in range(1, n_true + 1):
            touching = np.setdiff1d(np.unique(pred[true == i]), [0])
            masks = (torch.from_numpy(mask)[None, None].float() for mask in (np.isin(pred, touching), true == i))
            values.append(reference(*masks).item())
        expected = np.mean(values) if values else NAN
        assert metric.aggregate("none")[b, c].item() == pytest.approx(expected, nan_ok=True)


@settings(max_examples=15)
@given(pairs, st.sampled_from(sorted(METRICS)), st.permutations(range(2)))
def test_order_flips_and_split_change_nothing(case, name, order):
    y_pred, y = map(torch.from_numpy, case)
    expected = pytest.approx(score(name, y_pred, y), nan_ok=True)
    assert score(name, y_pred[order], y[order]) == expected
    assert score(name, y_pred.flip(1, 2), y.flip(1, 2)) == expected
    assert score(name, y_pred.mT, y.mT) == expected
    split = METRICS[name]()
    for one, other in zip(y_pred.split(1), y.split(1), strict=True):
        split(one, other)
    assert split.aggregate().item() == expected


@settings(max_examples=15)
@given(pairs)
def test_dice_and_iou_of_a_lesion_belong_together(case):
    # with one lesion in the sample, Dice = 2 IoU / (1 + IoU)
    y_pred, _ = map(torch.from_numpy, case)
    y = torch.zeros_like(y_pred)
    y[:, :, 1:4, 1:4] = 1
    iou = score("iou", y_pred[:1, :1], y[:1, :1])
    assert score("dice", y_pred[:1, :1], y[:1, :1]) == pytest.approx(2 * iou / (1 + iou))
