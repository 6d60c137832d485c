from __future__ import annotations

from math import log

import pytest
import torch
from monai.losses import DiceCELoss

from monai_instance_loss.losses.engine.region import RegionSums
from monai_instance_loss.losses.pixel import (
    BinaryCELoss,
    ComboLoss,
    CompoundRegionLoss,
    DiceCERegionLoss,
    DiceRegionLoss,
    ExponentialLogarithmicLoss,
    GeneralizedDiceRegionLoss,
    JaccardLoss,
    WeightedCELoss,
)

# TP = 1.3, sum p = 1.8, sum y = 2
P = torch.tensor([[[[0.8, 0.5, 0.4], [0.1, 0.0, 0.0]]]], dtype=torch.float64)
Y = torch.tensor([[[[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]])
EXACT = {"smooth_nr": 0, "smooth_dr": 0}
ON, OFF = log(0.8) + log(0.5), log(0.6) + log(0.9)
DICE = 1 - 2.6 / 3.8


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (DiceCERegionLoss(**EXACT), DICE - (ON + OFF) / 6),
        (DiceCERegionLoss(lambda_dice=0.25, lambda_ce=2, **EXACT), 0.25 * DICE - 2 * (ON + OFF) / 6),
        (ComboLoss(alpha=0.3, beta=0.6, **EXACT), -0.3 * (0.6 * ON + 0.4 * OFF) / 6 + 0.7 * DICE),
        # Dice is smoothed by 1: (2.6 + 1) / (3.8 + 1) = 3/4
        (ExponentialLogarithmicLoss(gamma=1), 0.8 * log(4 / 3) - 0.2 * (ON + OFF) / 6),
        (
            ExponentialLogarithmicLoss(pos_weight=3, neg_weight=1.5, gamma=0.3),
            0.8 * log(4 / 3) ** 0.3
            + 0.2 * 3 / 6 * ((-log(0.8)) ** 0.3 + (-log(0.5)) ** 0.3)
            + 0.2 * 1.5 / 6 * ((-log(0.6)) ** 0.3 + (-log(0.9)) ** 0.3),
        ),
    ],
    ids=["DiceCE", "DiceCE weighted", "combo", "exponential 1", "exponential"],
)
def test_values_by_hand(loss, expected):
    assert float(loss(P, Y)) == pytest.approx(expected, rel=1e-12)


def test_dice_ce_is_monais_on_one_channel(soft_batch):
    logits, target = soft_batch((2, 1, 9, 8), 3)
    options = {"sigmoid": True, "lambda_dice": 0.7, "lambda_ce": 2.0, "squared_pred": True, "smooth_nr": 1e-3}
    torch.testing.assert_close(DiceCERegionLoss(**options)(logits, target), DiceCELoss(**options)(logits, target))


def test_combo_is_the_papers_but_for_a_constant(soft_batch):
    logits, target = soft_batch((1, 1, 9, 8), 3)
    p = torch.sigmoid(logits)
    # alpha * weighted cross-entropy - (1 - alpha) * Dice index, smoothed by 1
    ce = -(0.7 * target * p.log() + 0.3 * (1 - target) * (1 - p).log()).mean()
    dice = (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1)
    value = ComboLoss(alpha=0.4, beta=0.7, smooth_nr=1, smooth_dr=1, sigmoid=True)(logits, target)
    torch.testing.assert_close(value - 0.6, 0.4 * ce - 0.6 * dice)


def test_compounds_nest_and_mix_values_of_channels_and_samples(soft_batch):
    logits, target = soft_batch((2, 3, 6, 5), 3)
    inner = CompoundRegionLoss([JaccardLoss(), BinaryCELoss()], weights=[0.5, 2])
    loss = CompoundRegionLoss(
        [DiceRegionLoss(), inner, GeneralizedDiceRegionLoss()], weights=[1, 3, 0.25], sigmoid=True
    )
    expected = sum(
        weight * part(sigmoid=True)(logits, target)
        for part, weight in (
            (DiceRegionLoss, 1),
            (JaccardLoss, 1.5),
            (BinaryCELoss, 6),
            (GeneralizedDiceRegionLoss, 0.25),
        )
    )
    torch.testing.assert_close(loss(logits, target), expected)


def test_the_background_is_scored_part_by_part():
    loss = CompoundRegionLoss([WeightedCELoss(pos_weight=5, neg_weight=0.5), BinaryCELoss()], weights=[2, 1])
    sums = RegionSums(
        {"ce_on": torch.tensor([2.0])}, {"ce_off": torch.tensor([3.0])}, torch.tensor([1]), torch.tensor([4])
    )
    # 2 (5 * 2 + 0.5 * 3) / 4 + (2 + 3) / 4; with the foreground off the target 2 (0.5 * 2 + 5 * 3) / 4 + (2 + 3) / 4
    assert loss.score(sums).tolist() == [7.0]
    assert loss.score_background(sums).tolist() == [9.25]


@pytest.mark.parametrize(
    ("parts", "weights", "error", "message"),
    [
        ([], None, ValueError, "`weights`.*0 for 0"),
        ([DiceRegionLoss()], [1, 2], ValueError, "`weights`.*2 for 1"),
        ([DiceRegionLoss()], [-1], ValueError, "`weights`.*-1"),
        ([DiceCELoss()], None, TypeError, "`parts`.*DiceCELoss"),
        ([DiceRegionLoss(sigmoid=True)], None, ValueError, "`parts`.*sigmoid=True"),
    ],
)
def test_errors(parts, weights, error, message):
    with pytest.raises(error, match=message):
        CompoundRegionLoss(parts, weights=weights)
