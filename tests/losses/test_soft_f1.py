from __future__ import annotations

import pytest
import torch

from monai_instance_loss.losses import SoftInstanceF1Loss
from monai_instance_loss.metrics import InstanceF1Metric


def batch(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    pool = torch.nn.functional.avg_pool3d if len(shape) == 5 else torch.nn.functional.avg_pool2d
    return tuple((pool(torch.rand(shape, generator=generator), 3, 1, 1) > 0.6).float() for _ in range(2))


@pytest.mark.parametrize("shape", [(3, 1, 24, 25), (2, 3, 20, 20), (2, 2, 12, 13, 14)], ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_on_binary_predictions_it_is_one_minus_the_metric(shape, seed):
    prediction, target = batch(shape, seed)
    metric = InstanceF1Metric()
    metric(prediction, target)
    assert float(SoftInstanceF1Loss()(prediction, target)) == pytest.approx(1 - metric.aggregate().item(), abs=1e-6)


def test_samples_without_any_instance_do_not_count():
    prediction, target = batch((3, 1, 24, 24), 0)
    prediction[1] = target[1] = 0
    metric = InstanceF1Metric()
    metric(prediction, target)
    assert float(SoftInstanceF1Loss()(prediction, target)) == pytest.approx(1 - metric.aggregate().item(), abs=1e-6)


def test_value_and_gradient_by_hand():
    # a found lesion (0.8), a missed one (0.05, below the threshold) and a false component (0.4):
    # precision 0.8 / 1.2 = 2/3, recall (0.8 + 0.05) / 2 = 0.425, F1 = 2 * 2/3 * 0.425 / (2/3 + 0.425)
    p = torch.tensor([[[[0.8, 0.0, 0.05, 0.0, 0.4]]]], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[[[1.0, 0.0, 1.0, 0.0, 0.0]]]], dtype=torch.float64)
    value = SoftInstanceF1Loss()(p, target)
    assert float(value.detach()) == pytest.approx(1 - 2 * (2 / 3) * 0.425 / (2 / 3 + 0.425))
    (grad,) = torch.autograd.grad(value, p)
    found, _, missed, _, false = grad.flatten().tolist()
    assert found < 0
    assert missed < 0
    assert false > 0


@pytest.mark.parametrize("side", ["neither", "target", "prediction"])
def test_empty_sides(side):
    logits = torch.full((1, 1, 6, 6), -20.0)
    target = torch.zeros(1, 1, 6, 6)
    if side == "target":
        target[0, 0, 2, 2] = 1
    if side == "prediction":
        logits[0, 0, 2, 2] = 20
    logits.requires_grad_()
    value = SoftInstanceF1Loss(sigmoid=True)(logits, target)
    assert float(value.detach()) == pytest.approx(0 if side == "neither" else 1, abs=1e-6)
    value.backward()
    assert logits.grad.isfinite().all()
    empty = SoftInstanceF1Loss(sigmoid=True)(logits[:0], target[:0])
    assert float(empty.detach()) == 0
    assert empty.requires_grad


def test_nan_is_seen():
    logits = torch.zeros(1, 1, 6, 6)
    logits[0, 0, 3, 3] = torch.nan
    assert SoftInstanceF1Loss(sigmoid=True)(logits, torch.zeros_like(logits)).isnan()


def test_pixel_loss_is_added_by_its_weight():
    prediction, target = batch((2, 1, 20, 20), 1)
    loss = SoftInstanceF1Loss(weights={"pixel": 0.5})
    terms = loss.terms(prediction, target)
    torch.testing.assert_close(loss(prediction, target), 0.5 * terms.pixel + terms.instance)


def test_precision_is_a_share_however_little_is_predicted():
    p = torch.tensor([[[[0.4, 0.0, 0.2]]]], dtype=torch.float64)
    target = torch.tensor([[[[1.0, 0.0, 0.0]]]])
    # precision 0.4 / 0.6, recall 0.4
    precision, recall = 2 / 3, 0.4
    expected = 1 - 2 * precision * recall / (precision + recall)
    assert float(SoftInstanceF1Loss(threshold=0.1)(p, target)) == pytest.approx(expected)


def test_a_prediction_on_lesions_too_small_to_be_scored_finds_nothing():
    p, target = torch.tensor([[[[0.9, 0.9, 0.9]]]]), torch.tensor([[[[1.0, 0.0, 0.0]]]])
    # touching is no hit where no lesion counts: F1 0
    assert float(SoftInstanceF1Loss(min_instance_size=1)(p, target)) == 1
