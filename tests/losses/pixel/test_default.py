from __future__ import annotations

import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss

from monai_instance_loss.losses import InstanceLoss


def batch(channels: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, one-hot target and class labels."""
    generator = torch.Generator().manual_seed(channels)
    logits = torch.randn(2, channels, 7, 8, generator=generator)
    labels = torch.randint(max(2, channels), (2, 1, 7, 8), generator=generator)
    one_hot = labels.float() if channels == 1 else torch.cat([labels == k for k in range(channels)], 1).float()
    return logits, one_hot, labels


@pytest.mark.parametrize("include_background", [True, False])
def test_softmax_has_dice_and_cross_entropy(include_background):
    logits, one_hot, labels = batch(3)
    flags = {"softmax": True, "include_background": include_background}
    expected = DiceCELoss(**flags)(logits, one_hot)
    torch.testing.assert_close(InstanceLoss(**flags).terms(logits, one_hot).pixel, expected)
    torch.testing.assert_close(InstanceLoss(to_onehot_y=True, **flags).terms(logits, labels).pixel, expected)


def test_sigmoid_of_one_channel_has_dice_and_binary_cross_entropy():
    logits, target, _ = batch(1)
    bce = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
    value = InstanceLoss(sigmoid=True).terms(logits, target).pixel
    torch.testing.assert_close(value, DiceLoss(sigmoid=True)(logits, target) + bce)
    torch.testing.assert_close(value, DiceCELoss(sigmoid=True)(logits, target))


@pytest.mark.parametrize("include_background", [True, False])
def test_sigmoid_of_independent_channels_takes_no_softmax(include_background):
    logits, target, _ = batch(3)
    first = 0 if include_background else 1
    bce = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, first:], target[:, first:])
    dice = DiceLoss(sigmoid=True, include_background=include_background)(logits, target)
    loss = InstanceLoss(sigmoid=True, include_background=include_background)
    torch.testing.assert_close(loss.terms(logits, target).pixel, dice + bce)


@pytest.mark.parametrize("include_background", [True, False])
def test_probabilities_have_dice_only(include_background):
    logits, target, _ = batch(3)
    p = logits.softmax(1)
    flags = {"include_background": include_background}
    torch.testing.assert_close(InstanceLoss(**flags).terms(p, target).pixel, DiceLoss(**flags)(p, target))
    flags["other_act"] = torch.sigmoid
    torch.testing.assert_close(InstanceLoss(**flags).terms(logits, target).pixel, DiceLoss(**flags)(logits, target))
