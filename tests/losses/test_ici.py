from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.losses import DiceLoss

from monai_instance_loss.losses import ICILoss, InstanceCenterLoss, InstanceLoss

DATA = Path(__file__).parent / "data"
CASES = json.loads((DATA / "reference_cases.json").read_text())["cases"]


@pytest.mark.parametrize("index", range(36))
@pytest.mark.parametrize("loss", [ICILoss, InstanceCenterLoss])
def test_terms_are_those_of_the_published_code(loss, index, golden_case):
    case = golden_case(index)
    expected = dict(CASES[index]["expected"][loss.__name__])
    if "instance_out" in expected:
        expected["instance_pred"] = expected.pop("instance_out")
    terms = loss(pixel_loss=DiceLoss(), threshold=0.5, **case.options).terms(case.prediction, case.target)
    assert set(terms._fields) == set(expected)
    for name, value in expected.items():
        assert abs(float(getattr(terms, name)) - value) <= 1e-4 * max(1, abs(value)), name


def test_total_is_the_published_mixture(soft_batch):
    logits, target = soft_batch((2, 1, 20, 20))
    loss = ICILoss(sigmoid=True)
    terms = loss.terms(logits, target)
    expected = terms.pixel / 4 + terms.instance / 2 + terms.center / 4
    torch.testing.assert_close(loss(logits, target), expected)


def test_center_loss_terms_are_those_of_instance_loss(soft_batch):
    logits, target = soft_batch((2, 2, 16, 17))
    terms = InstanceCenterLoss(sigmoid=True).terms(logits, target)
    whole = InstanceLoss(sigmoid=True).terms(logits, target)
    for name in terms._fields:
        torch.testing.assert_close(getattr(terms, name), getattr(whole, name))


def test_proximity_is_no_term_of_the_center_loss():
    with pytest.raises(ValueError, match=r"Expected `weights` to name terms of .*but got \['proximity'\]"):
        InstanceCenterLoss(weights={"proximity": 1.0})


def test_false_discovery_rate_of_soft_predictions():
    # sum of p on the target 0.8 + 0.2, off it 0.6 + 0.4: 1 - 1 / 2 = 0.5
    target = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])
    p = torch.tensor([[[[0.8, 0.2, 0.6, 0.4]]]], requires_grad=True)
    fdr = ICILoss(threshold=0.5).terms(p, target).fdr
    assert float(fdr) == pytest.approx(0.5)
    # d/dp of FP / (TP + FP): (TP or FP of the other side) / total^2 = 1 / 4, up off the target and down on it
    (grad,) = torch.autograd.grad(fdr, p)
    np.testing.assert_allclose(grad.flatten(), [-0.25, -0.25, 0.25, 0.25], rtol=1e-5)


def test_false_discovery_rate_without_prediction_is_zero():
    p = torch.full((1, 1, 4, 4), 0.3)
    assert float(ICILoss(threshold=0.5).terms(p, torch.zeros_like(p)).fdr) == 0
