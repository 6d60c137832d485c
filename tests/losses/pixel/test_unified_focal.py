from __future__ import annotations

from math import log, sqrt

import pytest
import torch
from monai.losses import AsymmetricUnifiedFocalLoss, DiceLoss, TverskyLoss

from monai_instance_loss.losses.pixel import (
    BinaryCELoss,
    FocalRegionLoss,
    FocalTverskyLoss,
    UnifiedFocalLoss,
)

# TP = 1.3, FP = 0.5, FN = 0.7, TN = 0.6 + 0.9 + 1 + 1 = 3.5
P = torch.tensor([[[[0.8, 0.5, 0.4], [0.1, 0.0, 0.0]]]], dtype=torch.float64)
Y = torch.tensor([[[[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]])
EXACT = {"smooth_nr": 0, "smooth_dr": 0}


@pytest.fixture(scope="module")
def two_classes():
    generator = torch.Generator().manual_seed(5)
    logits = 2 * torch.randn(2, 2, 6, 5, dtype=torch.float64, generator=generator)
    return logits, torch.randint(0, 2, (2, 1, 6, 5), generator=generator)


def test_values_by_hand():
    foreground = 1 - 1.3 / (1.3 + 0.6 * 0.7 + 0.4 * 0.5)
    background = 1 - 3.5 / (3.5 + 0.6 * 0.5 + 0.4 * 0.7)
    off = sqrt(0.4) * log(0.6) + sqrt(0.1) * log(0.9)
    on = log(0.8) + log(0.5)
    asymmetric = 0.3 * -(0.6 * on + 0.4 * off) / 6 + 0.7 * (sqrt(foreground) + background) / 2
    assert float(UnifiedFocalLoss(weight=0.3, delta=0.6, gamma=0.5, **EXACT)(P, Y)) == pytest.approx(asymmetric)
    on = sqrt(0.2) * log(0.8) + sqrt(0.5) * log(0.5)
    symmetric = 0.3 * -(0.6 * on + 0.4 * off) / 6 + 0.7 * (sqrt(foreground) + sqrt(background)) / 2
    assert float(UnifiedFocalLoss(weight=0.3, delta=0.6, gamma=0.5, asymmetric=False, **EXACT)(P, Y)) == pytest.approx(
        symmetric
    )


@pytest.mark.parametrize("asymmetric", [False, True])
def test_without_gamma_it_is_cross_entropy_dice_and_tversky(two_classes, asymmetric):
    logits, target = two_classes
    options = {"softmax": True, "to_onehot_y": True}

    def unified(**own):
        return UnifiedFocalLoss(gamma=0, asymmetric=asymmetric, **own, **options)(logits, target)

    # cross-entropy with both classes weighed 0.5
    ce = torch.nn.functional.cross_entropy(logits, target[:, 0])
    torch.testing.assert_close(2 * unified(weight=1, delta=0.5), ce)
    # 2 TP / (2 TP + FN + FP), the mean of both classes; MONAI's smoothing is that of twice the sums
    dice = DiceLoss(smooth_nr=2e-5, smooth_dr=2e-5, **options)(logits, target)
    torch.testing.assert_close(unified(weight=0, delta=0.5), dice)
    tversky = TverskyLoss(alpha=0.3, beta=0.7, **options)(logits, target)
    torch.testing.assert_close(unified(weight=0, delta=0.7), tversky)
    torch.testing.assert_close(unified(weight=0.2, delta=0.5), 0.1 * ce + 0.8 * dice)


@pytest.mark.parametrize("gamma", [0, 0.25, 0.75])
def test_symmetric_it_is_focal_and_focal_tversky(two_classes, gamma):
    logits, target = two_classes
    logits = logits[:, 1:] - logits[:, :1]
    focal = UnifiedFocalLoss(weight=1, delta=0.25, gamma=gamma, asymmetric=False, sigmoid=True)(logits, target)
    torch.testing.assert_close(focal, FocalRegionLoss(gamma=gamma, alpha=0.25, sigmoid=True)(logits, target))
    # over foreground and background: Abraham & Khan's loss of the class and of its complement
    tversky = FocalTverskyLoss(gamma=1 / (1 - gamma), alpha=0.3, beta=0.7, sigmoid=True)
    both = (tversky(logits, target) + tversky(-logits, 1 - target)) / 2
    value = UnifiedFocalLoss(weight=0, delta=0.7, gamma=gamma, asymmetric=False, sigmoid=True)(logits, target)
    torch.testing.assert_close(value, both)


@pytest.mark.parametrize("asymmetric", [False, True])
def test_two_classes_however_they_come(two_classes, asymmetric):
    logits, target = two_classes
    options = {"asymmetric": asymmetric, "softmax": True, "to_onehot_y": True}
    both = UnifiedFocalLoss(**options)(logits, target)
    torch.testing.assert_close(both, UnifiedFocalLoss(**options, include_background=False)(logits, target))
    single = UnifiedFocalLoss(asymmetric=asymmetric, sigmoid=True)(logits[:, 1:] - logits[:, :1], target)
    torch.testing.assert_close(both, single)
    probabilities = UnifiedFocalLoss(asymmetric=asymmetric, to_onehot_y=True)(logits.softmax(1), target)
    torch.testing.assert_close(both, probabilities)


def test_monais_on_probabilities_halves_the_focal_part(two_classes):
    logits, target = two_classes
    options = {"gamma": 0.4, "delta": 0.7}
    for weight, factor in ((0, 1), (1, 2)):
        value = UnifiedFocalLoss(weight=weight, softmax=True, to_onehot_y=True, **options)(logits, target)
        loss = AsymmetricUnifiedFocalLoss(to_onehot_y=True, weight=weight, **options)
        torch.testing.assert_close(value, factor * loss(logits.softmax(1), target), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("asymmetric", [False, True])
def test_several_classes_are_summed_over_the_voxels_of_each(asymmetric):
    generator = torch.Generator().manual_seed(6)
    logits = torch.randn(2, 4, 5, 4, dtype=torch.float64, generator=generator)
    target = torch.randint(0, 4, (2, 1, 5, 4), generator=generator)
    value = UnifiedFocalLoss(
        weight=1, delta=0.7, gamma=0.4, asymmetric=asymmetric, softmax=True, to_onehot_y=True, reduction="none"
    )(logits, target)
    p = logits.softmax(1).gather(1, target)
    rare = target > 0
    focal = (1 - p) ** 0.4 * -p.log()
    voxelwise = torch.where(rare, 0.7 * (-p.log() if asymmetric else focal), 0.3 * focal)
    torch.testing.assert_close(value, voxelwise.mean((1, 2, 3)).view(2, 1, 1, 1))


def test_independent_channels_are_averaged(soft_batch):
    logits, target = soft_batch((2, 3, 6, 5), 3)
    loss = UnifiedFocalLoss(sigmoid=True)
    by_channel = [loss(logits[:, c : c + 1], target[:, c : c + 1]) for c in range(3)]
    torch.testing.assert_close(loss(logits, target), torch.stack(by_channel).mean())


def test_the_cross_entropy_part_is_that_of_the_logits():
    target = torch.ones(1, 1, 2, 2)
    logits = torch.full_like(target, -1e4)
    value = UnifiedFocalLoss(weight=1, delta=0.5, gamma=0, sigmoid=True)(logits, target)
    assert float(2 * value) == pytest.approx(1e4) == float(BinaryCELoss(sigmoid=True)(logits, target))
