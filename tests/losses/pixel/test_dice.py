from __future__ import annotations

from math import cosh, log

import pytest
import torch
from monai.losses import DiceLoss, GeneralizedDiceLoss

from monai_instance_loss.losses.pixel import (
    DiceRegionLoss,
    GeneralizedDiceRegionLoss,
    JaccardLoss,
    LogCoshDiceLoss,
)

# TP = 1.3, sum p = 1.8, sum p^2 = 0.64 + 0.25 + 0.16 + 0.01 = 1.06, sum y = 2
P = torch.tensor([[[[0.8, 0.5, 0.4], [0.1, 0.0, 0.0]]]], dtype=torch.float64)
Y = torch.tensor([[[[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]])
EXACT = {"smooth_nr": 0, "smooth_dr": 0}


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (DiceRegionLoss(**EXACT), 1 - 2.6 / 3.8),
        (DiceRegionLoss(squared_pred=True, **EXACT), 1 - 2.6 / 3.06),
        (DiceRegionLoss(smooth_nr=0.5, smooth_dr=1), 1 - 3.1 / 4.8),
        (JaccardLoss(**EXACT), 1 - 1.3 / 2.5),
        (LogCoshDiceLoss(**EXACT), log(cosh(1 - 2.6 / 3.8))),
        # one class: the weight 1 / 2^2 cancels but for the smoothing
        (GeneralizedDiceRegionLoss(**EXACT), 1 - 2.6 / 3.8),
        (GeneralizedDiceRegionLoss(smooth_nr=0.1, smooth_dr=0.2), 1 - (2.6 / 4 + 0.1) / (3.8 / 4 + 0.2)),
        (
            GeneralizedDiceRegionLoss(w_type="simple", smooth_nr=0.1, smooth_dr=0.2),
            1 - (2.6 / 2 + 0.1) / (3.8 / 2 + 0.2),
        ),
    ],
    ids=repr,
)
def test_values_by_hand(loss, expected):
    assert float(loss(P, Y)) == pytest.approx(expected, rel=1e-12)


def test_log_cosh_keeps_its_digits_near_zero():
    # Dice loss d = 1 - 2 (1 - e) / (2 - e), about e / 2; log cosh d is about d^2 / 2
    p = torch.tensor([[[[1 - 1e-4]]]])
    value = LogCoshDiceLoss(**EXACT)(p, torch.ones(1, 1, 1, 1))
    assert float(value) == pytest.approx(0.5 * 0.5e-4**2, rel=1e-2)


@pytest.mark.parametrize("options", [{}, {"squared_pred": True}, {"smooth_nr": 0.0, "smooth_dr": 1.0}], ids=str)
def test_equal_to_monai(soft_batch, options):
    logits, target = soft_batch((2, 2, 9, 8), 3)
    torch.testing.assert_close(
        DiceRegionLoss(sigmoid=True, **options)(logits, target), DiceLoss(sigmoid=True, **options)(logits, target)
    )
    torch.testing.assert_close(
        JaccardLoss(sigmoid=True, **options)(logits, target),
        DiceLoss(jaccard=True, sigmoid=True, **options)(logits, target),
    )


@pytest.mark.parametrize("include_background", [True, False])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("w_type", ["square", "simple", "uniform"])
def test_generalised_dice_is_monais(w_type, reduction, include_background):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 6, 5, generator=generator)
    # the second sample lacks class 3, the third has background only
    target = torch.randint(0, 4, (3, 1, 6, 5), generator=generator)
    target[1][target[1] == 3] = 1
    target[2] = 0
    options = {
        "w_type": w_type,
        "softmax": True,
        "to_onehot_y": True,
        "reduction": reduction,
        "include_background": include_background,
    }
    if not include_background and w_type != "uniform":
        # a sample without any class is where ours is not flat
        logits, target = logits[:2], target[:2]
    value = GeneralizedDiceRegionLoss(**options)(logits, target)
    torch.testing.assert_close(value, GeneralizedDiceLoss(**options)(logits, target))


def test_generalised_dice_of_a_sample_without_target_sees_false_positives():
    p = torch.full((1, 1, 2, 2), 0.5, requires_grad=True)
    value = GeneralizedDiceRegionLoss()(p, torch.zeros(1, 1, 2, 2))
    assert float(value.detach()) == pytest.approx(1 - 1e-5 / (2 + 1e-5))
    value.backward()
    assert (p.grad > 0).all()
