from __future__ import annotations

import pytest
import torch

from monai_instance_loss.losses.pixel import SensitivitySpecificityLoss

P = torch.tensor([[[[0.8, 0.5, 0.4], [0.1, 0.0, 0.0]]]], dtype=torch.float64)
Y = torch.tensor([[[[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]])


@pytest.mark.parametrize("ratio", [0, 0.05, 0.4, 1])
def test_values_by_hand(ratio):
    # (0.2^2 + 0.5^2) / 2 on the target, (0.4^2 + 0.1^2) / 4 off it
    assert float(SensitivitySpecificityLoss(sensitivity_ratio=ratio)(P, Y)) == pytest.approx(
        ratio * 0.145 + (1 - ratio) * 0.0425
    )


def test_a_class_that_is_absent_adds_nothing():
    loss = SensitivitySpecificityLoss(sensitivity_ratio=0.4)
    # sum p^2 = 1.06, sum (1 - p)^2 = 0.04 + 0.25 + 0.36 + 0.81 + 1 + 1 = 3.46
    assert float(loss(P, torch.zeros_like(Y))) == pytest.approx(0.6 * 1.06 / 6)
    assert float(loss(P, torch.ones_like(Y))) == pytest.approx(0.4 * 3.46 / 6)
