from __future__ import annotations

from math import log

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from monai_instance_loss.losses.pixel import BalancedCELoss, BinaryCELoss, WeightedCELoss

P = torch.tensor([[[[0.8, 0.5, 0.4], [0.1, 0.0, 0.0]]]], dtype=torch.float64)
Y = torch.tensor([[[[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]])
# log p of the two target voxels, log(1 - p) of the four others
ON, OFF = log(0.8) + log(0.5), log(0.6) + log(0.9)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (BinaryCELoss(), -(ON + OFF) / 6),
        (WeightedCELoss(pos_weight=3, neg_weight=0.5), -(3 * ON + 0.5 * OFF) / 6),
        # four voxels of six are off the target
        (BalancedCELoss(), -(4 / 6 * ON + 2 / 6 * OFF) / 6),
    ],
    ids=repr,
)
def test_values_by_hand(loss, expected):
    assert float(loss(P, Y)) == pytest.approx(expected, rel=1e-12)


def test_equal_to_torch_on_logits(soft_batch):
    logits, target = soft_batch((2, 2, 9, 8), 3)
    weight = torch.tensor(2.5)
    value = WeightedCELoss(pos_weight=2.5, sigmoid=True)(logits, target)
    torch.testing.assert_close(value, binary_cross_entropy_with_logits(logits, target, pos_weight=weight))
    value = BinaryCELoss(sigmoid=True, reduction="none")(logits, target)
    expected = binary_cross_entropy_with_logits(logits, target, reduction="none").mean((2, 3), keepdim=True)
    torch.testing.assert_close(value, expected)


def test_balanced_is_plain_where_both_classes_are_equally_large():
    logits = torch.randn(1, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    target = torch.zeros(1, 1, 4, 4)
    target[..., :2] = 1
    torch.testing.assert_close(
        2 * BalancedCELoss(sigmoid=True)(logits, target), BinaryCELoss(sigmoid=True)(logits, target)
    )


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_balanced_is_zero_where_one_class_is_all_there_is(value):
    logits = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert float(BalancedCELoss(sigmoid=True)(logits, torch.full_like(logits, value))) == 0


def test_certain_and_wrong_costs_its_logit():
    # -log sigmoid(-1e4) = 1e4, which no logarithm of a probability can tell
    value = BinaryCELoss(sigmoid=True)(torch.full((1, 1, 2, 2), -1e4), torch.ones(1, 1, 2, 2))
    assert float(value) == pytest.approx(1e4)
