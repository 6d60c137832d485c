"""Voxels that InstanceLoss is told to ignore."""

from __future__ import annotations

import math

import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss

from monai_instance_loss.instances import label_instances
from monai_instance_loss.losses import InstanceLoss, InstanceLossTerms
from monai_instance_loss.losses.pixel import BinaryCELoss

TERMS = InstanceLossTerms._fields[1:]
WITHOUT_PIXEL = {**dict.fromkeys(TERMS, 1.0), "pixel": 0.0}


def ignored_voxels(shape: tuple[int, ...]) -> torch.Tensor:
    """Bool (B, 1, *spatial): the first sample's rows 3-6, and scattered voxels of the others."""
    ignored = torch.rand(shape[0], 1, *shape[2:], generator=torch.Generator().manual_seed(0)) < 0.1
    ignored[0] = False
    ignored[0, 0, 3:7] = True
    return ignored


def value_and_gradient(loss: InstanceLoss, logits: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, ...]:
    x = logits.clone().requires_grad_()
    value = loss(x, target)
    value.backward()
    return value.detach(), x.grad


def check_ignored(loss: InstanceLoss, logits: torch.Tensor, target: torch.Tensor, ignored: torch.Tensor) -> None:
    """Ignored voxels get no gradient, and neither value nor gradient depends on their logits."""
    value, grad = value_and_gradient(loss, logits, target)
    assert grad.any()
    everywhere = ignored.expand_as(logits)
    assert (grad[everywhere] == 0).all()
    for other in (20.0, -20.0, 0.0):
        other_value, other_grad = value_and_gradient(loss, logits.masked_fill(everywhere, other), target)
        assert torch.equal(other_value, value)
        assert torch.equal(other_grad, grad)


@pytest.mark.parametrize("shape", [(2, 1, 14, 15), (2, 1, 8, 9, 10)], ids=str)
@pytest.mark.parametrize("ignore_index", [2, 255, -1])
def test_binary_target(naive, soft_batch, shape, ignore_index):
    logits, target = soft_batch(shape, 1)
    ignored = ignored_voxels(shape)
    assert target[ignored].any()
    assert not target[ignored].all()
    marked = target.masked_fill(ignored, ignore_index)
    loss = InstanceLoss(sigmoid=True, ignore_index=ignore_index, weights=WITHOUT_PIXEL)
    check_ignored(loss, logits, marked, ignored)
    expected = naive.terms(torch.sigmoid(logits), target, naive.Options(threshold=0.1), ignored=ignored)
    for name, value in loss.terms(logits, marked)._asdict().items():
        if name != "pixel":
            torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)


def test_class_labels(naive, soft_batch):
    logits, _ = soft_batch((2, 3, 13, 14), 2)
    labels = soft_batch((2, 3, 13, 14), 3)[0].argmax(1, keepdim=True)
    ignored = ignored_voxels(logits.shape)
    marked = labels.masked_fill(ignored, 255)
    one_hot = torch.cat([labels == k for k in range(3)], 1)
    for flags, first in (({}, 0), ({"include_background": False}, 1)):
        loss = InstanceLoss(softmax=True, to_onehot_y=True, ignore_index=255, weights=WITHOUT_PIXEL, **flags)
        check_ignored(loss, logits, marked, ignored)
        expected = naive.terms(
            torch.softmax(logits, 1)[:, first:], one_hot[:, first:], naive.Options(threshold=0.1), ignored=ignored
        )
        for name in TERMS:
            actual = getattr(loss.terms(logits, marked), name)
            torch.testing.assert_close(actual, expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("channels", [[0], [2], [0, 1, 2]])
def test_a_one_hot_target_is_ignored_where_any_channel_holds_the_value(naive, soft_batch, channels):
    logits, _ = soft_batch((2, 3, 13, 14), 2)
    labels = soft_batch((2, 3, 13, 14), 3)[0].argmax(1, keepdim=True)
    ignored = ignored_voxels(logits.shape)
    one_hot = torch.cat([labels == k for k in range(3)], 1)
    marked = one_hot.short()
    marked[:, channels] = marked[:, channels].masked_fill(ignored, -1)
    loss = InstanceLoss(softmax=True, ignore_index=-1, weights=WITHOUT_PIXEL)
    check_ignored(loss, logits, marked, ignored)
    expected = naive.terms(torch.softmax(logits, 1), one_hot, naive.Options(threshold=0.1), ignored=ignored)
    for name in TERMS:
        torch.testing.assert_close(getattr(loss.terms(logits, marked), name), expected[name], rtol=1e-5, atol=1e-6)


def test_a_voxel_of_no_class_is_not_ignored(soft_batch):
    """Unlike in MONAI, where it is: a target of independent channels has nothing but such voxels around its lesions."""
    logits, target = soft_batch((2, 2, 13, 14), 2)
    assert (target == 0).all(1).any()
    loss = InstanceLoss(sigmoid=True, ignore_index=-1, weights=WITHOUT_PIXEL)
    without = InstanceLoss(sigmoid=True, weights=WITHOUT_PIXEL)
    assert torch.equal(loss(logits, target), without(logits, target))


@pytest.mark.parametrize("value", [0, 1])
def test_values_that_every_channel_holds_are_refused(soft_batch, value):
    logits, target = soft_batch((1, 2, 6, 7), 2)
    with pytest.raises(ValueError, match=f"`ignore_index` to be neither 0 nor 1 .*2 channels, but got {value}"):
        InstanceLoss(sigmoid=True, ignore_index=value)(logits, target)


def test_centers_leave_ignored_voxels_out():
    """A lesion beside ignored voxels paints a box over them, which is not scored there."""
    target = torch.zeros(1, 1, 20, 20, dtype=torch.float64)
    target[0, 0, 10, 10] = 1
    p, marked = 0.5 * target, target.clone()
    marked[0, 0, :, 11:] = -1
    # radius 2: columns 7 to 11 and rows 7 to 11, of which 4 x 5 voxels are left; presence 0.5
    for criterion in (None, lambda a, b: DiceLoss()(a, b)):
        loss = InstanceLoss(ignore_index=-1, center_radius=2, center_loss=criterion)
        expected = 1 - (2 * 0.5 * 20 + 1e-5) / (0.5 * 20 + 20 + 1e-5)
        assert float(loss.terms(p, marked).center) == pytest.approx(expected, abs=1e-9)
    # a mean is over the voxels that are not ignored: 220 of 400, on 20 of which the cross-entropy is log 2
    loss = InstanceLoss(ignore_index=-1, center_radius=2, center_loss=BinaryCELoss())
    assert float(loss.terms(p, marked).center) == pytest.approx(math.log(2) * 20 / 220, abs=1e-9)


def test_instance_map(naive, soft_batch):
    logits, target = soft_batch((2, 1, 14, 15), 4)
    ignored = ignored_voxels(logits.shape)
    instance_map = label_instances(target).labels.long()
    marked = instance_map.masked_fill(ignored, -1)
    loss = InstanceLoss(sigmoid=True, ignore_index=-1, target_is_instances=True, weights=WITHOUT_PIXEL)
    check_ignored(loss, logits, marked, ignored)
    expected = naive.terms(
        torch.sigmoid(logits), target, naive.Options(threshold=0.1), ignored=ignored, instance_map=instance_map
    )
    for name in TERMS:
        torch.testing.assert_close(getattr(loss.terms(logits, marked), name), expected[name], rtol=1e-5, atol=1e-6)


def test_instance_map_of_several_classes_where_one_channel_says_ignore(soft_batch):
    """A voxel is ignored in all channels, or it is ignored for the prediction and still part of another's lesion."""
    logits, target = soft_batch((2, 2, 14, 15), 5)
    ignored = ignored_voxels(logits.shape)
    instance_map = label_instances(target).labels.long()
    assert (instance_map[:, 1:][ignored] > 0).any()
    instance_map[:, :1].masked_fill_(ignored, -1)
    loss = InstanceLoss(sigmoid=True, ignore_index=-1, target_is_instances=True, weights=WITHOUT_PIXEL)
    check_ignored(loss, logits, instance_map, ignored)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_ignored_voxels_may_hold_anything(soft_batch, bad):
    logits, target = soft_batch((2, 1, 14, 15), 1)
    ignored = ignored_voxels(logits.shape)
    marked = target.masked_fill(ignored, 2)
    for weights in (WITHOUT_PIXEL, None):
        loss = InstanceLoss(sigmoid=True, ignore_index=2, weights=weights)
        value, grad = value_and_gradient(loss, logits, marked)
        bad_value, bad_grad = value_and_gradient(loss, logits.masked_fill(ignored, bad), marked)
        assert torch.equal(value, bad_value)
        assert torch.equal(grad, bad_grad)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
def test_an_index_that_no_voxel_has_changes_nothing(soft_batch, dtype):
    logits, target = soft_batch((2, 1, 14, 15), 1)
    target = target.to(dtype)
    for expected, actual in zip(
        InstanceLoss(sigmoid=True).terms(logits, target),
        InstanceLoss(sigmoid=True, ignore_index=255).terms(logits, target),
        strict=True,
    ):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("flags", [{"sigmoid": True}, {}], ids=str)
def test_everything_ignored_is_finite_with_graph(flags):
    x = torch.full((2, 1, 7, 7), 0.7, requires_grad=True)
    loss = InstanceLoss(ignore_index=2, weights=dict.fromkeys(InstanceLossTerms._fields, 1.0), **flags)
    value = loss(x, torch.full((2, 1, 7, 7), 2))
    value.backward()
    assert value.isfinite()
    assert (x.grad == 0).all()


# the pixel loss


def test_default_pixel_loss_sees_ignored_voxels_as_certain_background(soft_batch):
    logits, target = soft_batch((2, 1, 14, 15), 1)
    ignored = ignored_voxels(logits.shape)
    marked = target.masked_fill(ignored, 2)
    only_pixel = {"instance": 0, "instance_pred": 0}
    check_ignored(InstanceLoss(sigmoid=True, ignore_index=2, weights=only_pixel), logits, marked, ignored)
    # sums over voxels, as Dice is made of, are those without the ignored ones: the others cut out, in one row
    dice = DiceLoss(sigmoid=True, batch=True)
    value = InstanceLoss(sigmoid=True, ignore_index=2, pixel_loss=dice).terms(logits, marked).pixel
    torch.testing.assert_close(value, dice(logits[~ignored][None, None, None], target[~ignored][None, None, None]))


@pytest.mark.parametrize("activation", ["sigmoid", "softmax", "none"])
@pytest.mark.parametrize("to_onehot_y", [True, False])
def test_pixel_losses_of_several_classes_sum_over_what_is_left(soft_batch, activation, to_onehot_y):
    logits, _ = soft_batch((2, 3, 13, 14), 2)
    labels = soft_batch((2, 3, 13, 14), 3)[0].argmax(1, keepdim=True)
    ignored = ignored_voxels(logits.shape)
    if to_onehot_y:
        target = labels.masked_fill(ignored, 255)
    else:
        target = torch.cat([labels == k for k in range(3)], 1).double().masked_fill(ignored, 255)
    flags = {activation: True} if activation != "none" else {}
    input = logits if flags else logits.softmax(1)
    # the foreground classes: background gains the ignored voxels as true positives
    pixel = DiceLoss(to_onehot_y=to_onehot_y, include_background=False, batch=True, **flags)
    loss = InstanceLoss(to_onehot_y=to_onehot_y, ignore_index=255, pixel_loss=pixel, **flags)
    value = loss.terms(input, target).pixel
    kept = (~ignored).squeeze(1)
    cut_input = input.movedim(1, -1)[kept].T[None, :, None]
    cut_target = target.movedim(1, -1)[kept].T[None, :, None]
    torch.testing.assert_close(value, pixel(cut_input, cut_target))


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_ignored_voxels_are_correct_background_for_the_background_class_too(soft_batch, activation):
    """Dice of the background class never gets worse by voxels that are certain and correct."""
    logits, _ = soft_batch((1, 2, 13, 14), 2)
    labels = soft_batch((1, 2, 13, 14), 3)[0].argmax(1, keepdim=True)
    pixel = DiceLoss(to_onehot_y=True, **{activation: True})
    # a perfect prediction outside, anything inside
    ignored = ignored_voxels(logits.shape)
    right = torch.where(torch.cat([labels == 0, labels == 1], 1), 50.0, -50.0)
    loss = InstanceLoss(to_onehot_y=True, ignore_index=255, pixel_loss=pixel, **{activation: True})
    value = loss.terms(torch.where(ignored, logits, right), labels.masked_fill(ignored, 255)).pixel
    assert float(value) == pytest.approx(0, abs=1e-6)


def test_a_pixel_loss_with_the_same_index_gets_input_and_target_untouched(soft_batch):
    logits, target = soft_batch((2, 1, 14, 15), 1)
    marked = target.masked_fill(ignored_voxels(logits.shape), 2)
    seen = []

    class Knows(DiceLoss):
        def forward(self, input, target):
            seen.append((input, target))
            return super().forward(input, target)

    pixel = Knows(sigmoid=True, ignore_index=2)
    value = InstanceLoss(sigmoid=True, ignore_index=2, pixel_loss=pixel).terms(logits, marked).pixel
    assert seen[0][0] is logits
    assert seen[0][1] is marked
    torch.testing.assert_close(value, DiceLoss(sigmoid=True, ignore_index=2)(logits, marked))


def test_a_pixel_loss_with_another_index_is_not_taken_to_know(soft_batch):
    logits, target = soft_batch((2, 1, 14, 15), 1)
    ignored = ignored_voxels(logits.shape)
    loss = InstanceLoss(sigmoid=True, ignore_index=2, pixel_loss=DiceLoss(sigmoid=True, ignore_index=7))
    value = loss.terms(logits, target.masked_fill(ignored, 2)).pixel
    expected = DiceLoss(sigmoid=True)(logits.masked_fill(ignored, -100), target.masked_fill(ignored, 0))
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_ignored_voxels_in_half_precision(soft_batch, dtype):
    logits, target = soft_batch((2, 1, 14, 15), 1, dtype=torch.float32)
    marked = target.masked_fill(ignored_voxels(logits.shape), 2)
    x = logits.to(dtype).requires_grad_()
    loss = InstanceLoss(sigmoid=True, ignore_index=2, pixel_loss=DiceCELoss(sigmoid=True))
    value = loss(x, marked)
    value.backward()
    assert value.isfinite()
    assert x.grad.isfinite().all()


def test_pixel_loss_of_an_instance_map_with_ignored_voxels(soft_batch):
    logits, target = soft_batch((2, 1, 14, 15), 1)
    ignored = ignored_voxels(logits.shape)
    instance_map = label_instances(target).labels.masked_fill(ignored, -1)
    on_map = InstanceLoss(sigmoid=True, ignore_index=-1, target_is_instances=True)
    on_mask = InstanceLoss(sigmoid=True, ignore_index=-1)
    expected = on_mask.terms(logits, target.masked_fill(ignored, -1)).pixel
    torch.testing.assert_close(on_map.terms(logits, instance_map).pixel, expected)
