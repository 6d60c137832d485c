from __future__ import annotations

import pytest
import torch
from monai.losses import TverskyLoss

from monai_instance_loss.losses.pixel import (
    DiceRegionLoss,
    FocalTverskyLoss,
    JaccardLoss,
    ModifiedFocalTverskyLoss,
    TverskyRegionLoss,
)
from monai_instance_loss.losses.pixel.tversky import power

# TP = 1.3, FP = 0.5, FN = 0.7, TN = 0.6 + 0.9 + 1 + 1 = 3.5
P = torch.tensor([[[[0.8, 0.5, 0.4], [0.1, 0.0, 0.0]]]], dtype=torch.float64)
Y = torch.tensor([[[[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]])
EXACT = {"smooth_nr": 0, "smooth_dr": 0}
TVERSKY = 1 - 1.3 / (1.3 + 0.3 * 0.5 + 0.7 * 0.7)
# of the foreground, then of the background, whose false negatives are the foreground's false positives
FOREGROUND = 1 - 1.3 / (1.3 + 0.6 * 0.7 + 0.4 * 0.5)
BACKGROUND = 1 - 3.5 / (3.5 + 0.6 * 0.5 + 0.4 * 0.7)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (TverskyRegionLoss(alpha=0.3, beta=0.7, **EXACT), TVERSKY),
        (TverskyRegionLoss(alpha=0.3, beta=0.7, smooth_nr=1, smooth_dr=2), 1 - (1.3 + 1) / (1.3 + 0.15 + 0.49 + 2)),
        # the paper's best: gamma 4/3, false negatives weighed 0.7
        (FocalTverskyLoss(**EXACT), TVERSKY**0.75),
        (FocalTverskyLoss(gamma=2, **EXACT), TVERSKY**0.5),
        (ModifiedFocalTverskyLoss(delta=0.6, gamma=0.25, **EXACT), (FOREGROUND**0.75 + BACKGROUND**0.75) / 2),
        (
            ModifiedFocalTverskyLoss(delta=0.6, gamma=0.25, asymmetric=True, **EXACT),
            (FOREGROUND**0.75 + BACKGROUND) / 2,
        ),
    ],
    ids=repr,
)
def test_values_by_hand(loss, expected):
    assert float(loss(P, Y)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.3, 0.7), (1.0, 1.0), (0.0, 2.0)], ids=str)
def test_equal_to_monai(soft_batch, weights):
    logits, target = soft_batch((2, 2, 9, 8), 3)
    options = dict(zip(("alpha", "beta"), weights, strict=True)) | {"sigmoid": True, "smooth_nr": 1e-3}
    torch.testing.assert_close(TverskyRegionLoss(**options)(logits, target), TverskyLoss(**options)(logits, target))


def test_special_weights_are_dice_and_jaccard(soft_batch):
    logits, target = soft_batch((2, 2, 9, 8), 3)
    torch.testing.assert_close(
        TverskyRegionLoss(alpha=0.5, beta=0.5, sigmoid=True, **EXACT)(logits, target),
        DiceRegionLoss(sigmoid=True, **EXACT)(logits, target),
    )
    torch.testing.assert_close(
        TverskyRegionLoss(alpha=1, beta=1, sigmoid=True, **EXACT)(logits, target),
        JaccardLoss(sigmoid=True, **EXACT)(logits, target),
    )
    assert torch.equal(
        FocalTverskyLoss(gamma=1, sigmoid=True)(logits, target),
        TverskyRegionLoss(alpha=0.3, beta=0.7, sigmoid=True)(logits, target),
    )


@pytest.mark.parametrize("asymmetric", [False, True])
def test_two_exclusive_classes_are_one_against_the_rest(asymmetric):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 2, 5, 4, dtype=torch.float64, generator=generator)
    target = torch.randint(0, 2, (2, 1, 5, 4), generator=generator)
    options = {"asymmetric": asymmetric, "softmax": True, "to_onehot_y": True}
    both = ModifiedFocalTverskyLoss(**options)(logits, target)
    foreground = ModifiedFocalTverskyLoss(**options, include_background=False)(logits, target)
    single = ModifiedFocalTverskyLoss(asymmetric=asymmetric, sigmoid=True)(logits[:, 1:] - logits[:, :1], target)
    torch.testing.assert_close(both, foreground)
    torch.testing.assert_close(both, single)


def test_asymmetric_spares_the_background_of_several_classes():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(1, 3, 5, 4, dtype=torch.float64, generator=generator)
    target = torch.randint(0, 3, (1, 1, 5, 4), generator=generator)
    options = {"softmax": True, "to_onehot_y": True}
    # delta weighs false negatives, so 1 - delta weighs false positives: a Tversky loss a class
    by_class = TverskyRegionLoss(alpha=0.4, beta=0.6, **options, reduction="none")(logits, target).flatten()
    value = ModifiedFocalTverskyLoss(delta=0.6, gamma=0.5, asymmetric=True, **options)(logits, target)
    torch.testing.assert_close(value, (by_class[0] + by_class[1].sqrt() + by_class[2].sqrt()) / 3)


@pytest.mark.parametrize("exponent", [0.3, 0.75, 1, 2])
def test_power_has_a_finite_gradient_at_zero(exponent):
    base = torch.tensor([-1e-8, 0.0, 1e-38, 1e-7, 0.5, 1.0], requires_grad=True)
    value = power(base, exponent)
    value.sum().backward()
    assert base.grad.isfinite().all()
    torch.testing.assert_close(value[3:].detach(), base[3:].detach() ** exponent)
    assert float(value[1].detach()) == 0
