"""Metrics on random masks, against double loops over scipy's components."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics import DiceMetric
from scipy import ndimage

from monai_instance_loss.instances import label_instances
from monai_instance_loss.metrics import (
    ComponentMetric,
    FalseInstancesMetric,
    InstanceConfusionMatrixMetric,
    InstanceDiceMetric,
    InstanceF1Metric,
    InstanceIoUMetric,
    MissedInstancesMetric,
    PanopticQualityMetric,
)

NAN = float("nan")


def over(top: float, bottom: float) -> float:
    return top / bottom if bottom else NAN


def naive_scores(true: np.ndarray, pred: np.ndarray) -> dict[str, float]:
    """All scores of one channel from its components' numbers; nothing clever."""
    n_true, n_pred = int(true.max()), int(pred.max())
    shared = [[int(((true == i + 1) & (pred == j + 1)).sum()) for j in range(n_pred)] for i in range(n_true)]
    true_size = [int((true == i + 1).sum()) for i in range(n_true)]
    pred_size = [int((pred == j + 1).sum()) for j in range(n_pred)]
    dice, iou, pairs = [], [], []
    for i in range(n_true):
        partners = [j for j in range(n_pred) if shared[i][j]]
        overlap, size = sum(shared[i]), true_size[i] + sum(pred_size[j] for j in partners)
        dice.append(2 * overlap / size)
        iou.append(overlap / (size - overlap))
        quality = [shared[i][j] / (true_size[i] + pred_size[j] - shared[i][j]) for j in partners]
        pairs += [value for value in quality if value > 0.5]
    detected = sum(any(row) for row in shared)
    matched = sum(any(row[j] for row in shared) for j in range(n_pred))
    sensitivity, precision = over(detected, n_true), over(matched, n_pred)
    f1 = NAN if n_true + n_pred == 0 else 0.0
    if detected:
        f1 = 2 * sensitivity * precision / (sensitivity + precision)
    return {
        "f1": f1,
        "missed": n_true - detected,
        "false": n_pred - matched,
        "sensitivity": sensitivity,
        "precision": precision,
        "dice": over(sum(dice), n_true),
        "iou": over(sum(iou), n_true),
        "pq": over(sum(pairs), (n_true + n_pred) / 2),
        "sq": over(sum(pairs), len(pairs)),
        "rq": over(len(pairs), (n_true + n_pred) / 2),
    }


METRICS = {
    "f1": InstanceF1Metric,
    "missed": MissedInstancesMetric,
    "false": FalseInstancesMetric,
    "sensitivity": lambda **options: InstanceConfusionMatrixMetric(metric_name="sensitivity", **options),
    "precision": lambda **options: InstanceConfusionMatrixMetric(metric_name="precision", **options),
    "dice": InstanceDiceMetric,
    "iou": InstanceIoUMetric,
    "pq": PanopticQualityMetric,
    "sq": lambda **options: PanopticQualityMetric(metric_name="sq", **options),
    "rq": lambda **options: PanopticQualityMetric(metric_name="rq", **options),
}


def scores(
    y_pred: torch.Tensor, y: torch.Tensor, reduction: str = "none", **options: object
) -> dict[str, torch.Tensor]:
    found = {}
    for name, kind in METRICS.items():
        metric = kind(**options)
        metric(y_pred, y)
        found[name] = metric.aggregate(reduction)
    return found


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(found[name].nan_to_num(-1), expected[name].nan_to_num(-1)) for name in METRICS)


@pytest.fixture
def draw_pair(draw_shape, draw_mask):
    """A prediction and a ground truth, which mostly have something to do with each other."""

    def draw(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        shape = draw_shape(rng)
        y = draw_mask(rng, shape)
        y_pred = draw_mask(rng, shape)
        if rng.random() < 0.6:
            y_pred = (y & torch.from_numpy(rng.random(shape) < 0.8)) | (
                y_pred & torch.from_numpy(rng.random(shape) < 0.2)
            )
        return y_pred, y

    return draw


def test_scores_are_those_of_a_double_loop(examples, draw_pair, relaid, naive_labels):
    def check(rng):
        y_pred, y = draw_pair(rng)
        connectivity = [None, *range(1, y.ndim - 1)][rng.integers(y.ndim - 1)]
        found = scores(relaid(rng, y_pred), relaid(rng, y), connectivity=connectivity)
        for block in np.ndindex(*y.shape[:2]):
            true, pred = (naive_labels(mask[block].numpy(), connectivity) for mask in (y, y_pred))
            for name, expected in naive_scores(true, pred).items():
                assert found[name][block].item() == pytest.approx(expected, rel=1e-6, nan_ok=True), name

    examples(check)


def test_dice_of_components_is_that_of_a_loop(examples, draw_pair, naive_labels):
    def check(rng):
        y_pred, y = draw_pair(rng)
        metric = ComponentMetric(DiceMetric(), include_background=True)
        metric(y_pred, y)
        found = metric.aggregate("none")
        for block in np.ndindex(*y.shape[:2]):
            labels = naive_labels(y[block].numpy())
            maps = [ndimage.distance_transform_edt(labels != k) for k in range(1, int(labels.max()) + 1)]
            dice = []
            for index in range(len(maps)):
                true, pred = labels == index + 1, y_pred[block].numpy() & (np.argmin(maps, 0) == index)
                dice.append(2 * (true & pred).sum() / (true.sum() + pred.sum()))
            assert found[block].item() == pytest.approx(over(sum(dice), len(dice)), rel=1e-5, nan_ok=True)

    examples(check)


def test_ignored_voxels_have_no_influence(examples, draw_pair):
    def check(rng):
        y_pred, y = draw_pair(rng)
        ignored = torch.from_numpy(rng.random((y.shape[0], 1, *y.shape[2:])) < 0.2)
        expected = scores(y_pred & ~ignored, y & ~ignored)
        # whatever stands in one channel or in all of them
        marked = y.int()
        channel = int(rng.integers(y.shape[1]))
        marked[:, channel : channel + 1].masked_fill_(ignored, 255)
        noise = torch.from_numpy(rng.random(y.shape) < 0.5)
        assert same(scores(torch.where(ignored, noise, y_pred), marked, ignore_index=255), expected)

    examples(check)


def test_instance_maps_score_as_masks_do(examples, draw_pair):
    def check(rng):
        y_pred, y = draw_pair(rng)
        maps = []
        for mask in (y_pred, y):
            known = label_instances(mask)
            ids = np.concatenate([[0], rng.permutation(3 * known.count + 3)[: known.count] + 1])
            maps.append(torch.from_numpy(ids)[known.labels.long()])
        expected = scores(y_pred, y)
        found = scores(*maps, is_instances=True)
        for name in METRICS:
            # sums over instances in another order
            torch.testing.assert_close(found[name], expected[name], rtol=1e-6, atol=0, equal_nan=True)

    examples(check)


def test_samples_and_flips_change_places_only(examples, draw_pair):
    def check(rng):
        y_pred, y = draw_pair(rng)
        expected = scores(y_pred, y)
        order = torch.from_numpy(rng.permutation(len(y)))
        axes = [axis for axis in range(2, y.ndim) if rng.random() < 0.5]
        found = scores(y_pred[order].flip(axes), y[order].flip(axes))
        for name in METRICS:
            torch.testing.assert_close(found[name], expected[name][order], rtol=1e-6, atol=0, equal_nan=True)

    examples(check)


def test_one_call_scores_as_many_do(examples, draw_pair):
    def check(rng):
        y_pred, y = draw_pair(rng)
        reduction = ["mean", "mean_batch", "mean_channel", "sum", "pooled", "none"][rng.integers(6)]
        expected = scores(y_pred, y, reduction)
        for name, kind in METRICS.items():
            metric = kind()
            for k in range(len(y)):
                metric(y_pred[k : k + 1], y[k : k + 1])
            found = metric.aggregate(reduction)
            torch.testing.assert_close(found, expected[name], rtol=1e-6, atol=0, equal_nan=True)

    examples(check)
