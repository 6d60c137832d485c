from __future__ import annotations

from math import log

import pytest
import torch
from monai.losses import FocalLoss

from monai_instance_loss.losses.pixel import BinaryCELoss, FocalRegionLoss

P = torch.tensor([[[[0.8, 0.5, 0.4], [0.1, 0.0, 0.0]]]], dtype=torch.float64)
Y = torch.tensor([[[[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]])


def test_values_by_hand():
    # (1 - p)^2 log p on the target, p^2 log(1 - p) off it
    on = 0.04 * log(0.8) + 0.25 * log(0.5)
    off = 0.16 * log(0.6) + 0.01 * log(0.9)
    assert float(FocalRegionLoss(gamma=2)(P, Y)) == pytest.approx(-(on + off) / 6)
    assert float(FocalRegionLoss(gamma=2, alpha=0.25)(P, Y)) == pytest.approx(-(0.25 * on + 0.75 * off) / 6)
    plain = log(0.8) + log(0.5)
    value = FocalRegionLoss(gamma=2, alpha=0.25, asymmetric=True)(P, Y)
    assert float(value) == pytest.approx(-(0.25 * plain + 0.75 * off) / 6)


@pytest.mark.parametrize("alpha", [None, 0.3])
@pytest.mark.parametrize("gamma", [0, 0.5, 2, 5])
def test_equal_to_monai(soft_batch, gamma, alpha):
    logits, target = soft_batch((2, 2, 9, 8), 3, dtype=torch.float32)
    value = FocalRegionLoss(gamma=gamma, alpha=alpha, sigmoid=True)(logits, target)
    torch.testing.assert_close(value, FocalLoss(gamma=gamma, alpha=alpha)(logits, target))


@pytest.mark.parametrize("asymmetric", [False, True])
def test_gamma_zero_is_cross_entropy(soft_batch, asymmetric):
    logits, target = soft_batch((2, 2, 9, 8), 3)
    value = FocalRegionLoss(gamma=0, asymmetric=asymmetric, sigmoid=True)(logits, target)
    torch.testing.assert_close(value, BinaryCELoss(sigmoid=True)(logits, target))
