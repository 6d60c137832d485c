from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.losses import BoxGIoULoss
from scipy import ndimage

from monai_instance_loss.losses import InstanceLoss
from monai_instance_loss.losses.pixel import InstanceBoxDIoULoss, InstanceBoxGIoULoss, diou_loss, giou_loss

BOTH = [(InstanceBoxGIoULoss, giou_loss), (InstanceBoxDIoULoss, diou_loss)]


def random_boxes(dims: int, count: int = 50) -> torch.Tensor:
    corners = torch.rand(count, 2, dims, generator=torch.Generator().manual_seed(dims), dtype=torch.float64) * 10
    return torch.cat([corners.amin(1), corners.amax(1) + 0.1], 1)


@pytest.mark.parametrize(
    ("first", "second", "giou", "diou"),
    [
        # the same box
        ([0, 0, 2, 2], [0, 0, 2, 2], 0.0, 0.0),
        # a quarter of the box, in its corner: IoU 1/4, hull full, centres 0.5, 0.5 apart of a diagonal of 2, 2
        ([0, 0, 1, 1], [0, 0, 2, 2], 0.75, 0.75 + 0.5 / 8),
        # two unit boxes with one between them: IoU 0, hull 3 of which 2 is covered, centres 2 apart, diagonal 3, 1
        ([0, 0, 1, 1], [2, 0, 3, 1], 1 + 1 / 3, 1 + 4 / 10),
        # unit cubes at opposite corners of a cube of 2: hull 8, covered 2; centres sqrt(3) apart, diagonal sqrt(12)
        ([0, 0, 0, 1, 1, 1], [1, 1, 1, 2, 2, 2], 1 + 6 / 8, 1 + 3 / 12),
        # a point in a box; two points in one place
        ([1, 1, 1, 1], [0, 0, 2, 2], 1.0, 1.0),
        ([1, 1, 1, 1], [1, 1, 1, 1], 1.0, 1.0),
    ],
    ids=str,
)
def test_box_losses_by_hand(first, second, giou, diou):
    boxes = torch.tensor([first]).float(), torch.tensor([second]).float()
    assert float(giou_loss(*boxes)) == pytest.approx(giou)
    assert float(diou_loss(*boxes)) == pytest.approx(diou)


@pytest.mark.parametrize("dims", [2, 3])
def test_giou_against_monai(dims):
    boxes = random_boxes(dims)
    others = boxes.roll(1, 0)
    theirs = BoxGIoULoss(reduction="none")(boxes.float(), others.float())
    torch.testing.assert_close(giou_loss(boxes.float(), others.float()), theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("loss", [giou_loss, diou_loss])
def test_gradcheck_of_boxes(loss, dims):
    boxes = random_boxes(dims, 6)
    assert torch.autograd.gradcheck(loss, (boxes.clone().requires_grad_(), boxes.roll(1, 0).requires_grad_()))


@pytest.mark.parametrize("loss", [giou_loss, diou_loss])
def test_boxes_half_nan_none_and_wrong(loss):
    half = loss(random_boxes(2).half(), random_boxes(2).half().roll(1, 0))
    assert half.dtype == torch.float32
    assert loss(torch.full((1, 4), torch.nan), torch.ones(1, 4)).isnan().all()
    empty = torch.zeros(0, 6, requires_grad=True)
    loss(empty, torch.zeros(0, 6)).sum().backward()
    assert empty.grad.shape == (0, 6)
    for wrong in (torch.zeros(3, 4), torch.zeros(2, 6), torch.zeros(4)):
        with pytest.raises(ValueError, match="`target` to be boxes"):
            loss(torch.zeros(2, 4), wrong)
    with pytest.raises(ValueError, match="`input` to be boxes"):
        loss(torch.zeros(2, 5), torch.zeros(2, 5))


def naive(p: np.ndarray, target: np.ndarray, threshold: float, box_loss, weights: np.ndarray) -> float:
    """One sample's channel, instance by instance; presence weighted by ``weights``, a copy of p held fixed."""
    full = np.ones((3,) * p.ndim)
    true, count = ndimage.label(target, full)
    pred, pred_count = ndimage.label(weights >= threshold, full)

    def presence(region: np.ndarray, values: np.ndarray = p) -> float:
        total = weights[region].sum()
        return (weights[region] * values[region]).sum() / total if total else 0.0

    values = []
    for i in range(1, count + 1):
        lesion = true == i
        touching = [j for j in range(1, pred_count + 1) if (lesion & (pred == j)).any()]
        region = lesion | (np.isin(pred, touching) & (true == 0))
        levels = np.unique(p[region & (p > 0)])
        soft, previous = np.zeros(2 * p.ndim), 0.0
        for level in levels:
            voxels = np.argwhere(region & (p >= level))
            edges = np.concatenate([voxels.min(0), voxels.max(0) + 1])
            soft += (level - previous) / levels[-1] * edges
            previous = level
        voxels = np.argwhere(lesion)
        box = np.concatenate([voxels.min(0), voxels.max(0) + 1]).astype(float)
        loss = float(box_loss(torch.tensor(soft[None]), torch.tensor(box[None]))) if len(levels) else 0.0
        values.append(1 - presence(lesion) + presence(lesion, weights) * loss)
    for j in range(1, pred_count + 1):
        if not (target[pred == j] > 0).any():
            values.append(presence(pred == j))
    return float(np.mean(values)) if values else 0.0


@pytest.mark.parametrize("threshold", [0.1, 0.5])
@pytest.mark.parametrize("shape", [(2, 2, 11, 12), (1, 1, 7, 6, 8)], ids=str)
@pytest.mark.parametrize(("loss", "box_loss"), BOTH)
def test_instances_against_loops(soft_batch, loss, box_loss, shape, threshold):
    logits, target = soft_batch(shape, 0)
    value = loss(threshold=threshold, sigmoid=True, reduction="none")(logits, target)
    for b in range(shape[0]):
        for c in range(shape[1]):
            p = logits[b, c].sigmoid().numpy()
            assert float(value[b, c]) == pytest.approx(naive(p, target[b, c].numpy(), threshold, box_loss, p))


@pytest.mark.parametrize(("loss", "box_loss"), BOTH)
def test_gradient_against_finite_differences(soft_batch, loss, box_loss):
    logits, target = soft_batch((1, 1, 8, 9), 3)
    p = logits.sigmoid().requires_grad_()
    (grad,) = torch.autograd.grad(loss(threshold=0.5)(p, target), p)
    fixed, mask = p.detach()[0, 0].numpy(), target[0, 0].numpy()
    numeric = np.zeros_like(fixed)
    for index in np.ndindex(fixed.shape):
        step = np.zeros_like(fixed)
        step[index] = 1e-7
        up, down = (naive(fixed + sign * step, mask, 0.5, box_loss, fixed) for sign in (1, -1))
        numeric[index] = (up - down) / 2e-7
    np.testing.assert_allclose(grad[0, 0].numpy(), numeric, atol=1e-6)


@pytest.mark.parametrize(("loss", "box_loss"), BOTH)
def test_binary_predictions_have_their_own_boxes(loss, box_loss):
    # found: target columns 1-3, prediction 2-5; missed: one voxel; false: one component. (L + 1 + 1) / 3
    target, p = torch.zeros(2, 1, 10, 10)
    target[:, 1:3, 1:4] = 1
    p[:, 1:3, 2:6] = 1
    target[:, 9, 9] = 1
    p[:, 6, 0:2] = 1
    expected = box_loss(torch.tensor([[1.0, 2, 3, 6]]), torch.tensor([[1.0, 1, 3, 4]]))
    value = loss()(p[None], target[None])
    assert float(value) == pytest.approx((float(expected) + 2) / 3)
    assert float(loss()(target[None], target[None])) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("loss", "box_loss"), BOTH)
def test_gradients_find_missed_lesions_and_remove_false_ones(loss, box_loss):
    target = torch.zeros(1, 1, 10, 10)
    target[..., 1:4, 1:4] = 1
    p = 0.02 * target
    p[..., 7:9, 7:9] = 0.6
    p.requires_grad_()
    loss()(p, target).backward()
    assert (p.grad[..., 1:4, 1:4] < 0).all()
    assert (p.grad[..., 7:9, 7:9] > 0).all()


@pytest.mark.parametrize(("loss", "box_loss"), BOTH)
def test_an_overgrown_box_is_pulled_in_and_a_short_one_pushed_out(loss, box_loss):
    target = torch.zeros(1, 1, 7, 12)
    target[..., 2:5, 3:7] = 1
    p = 0.9 * target
    p[..., 3, 7:10] = 0.8
    p.requires_grad_()
    loss()(p, target).backward()
    assert p.grad[0, 0, 3, 9] > 0
    p = 0.9 * target
    p[..., 6] = 0.3
    p.requires_grad_()
    loss()(p, target).backward()
    assert (p.grad[0, 0, 2:5, 6] < 0).all()


def test_nan_beside_a_lesion_shows():
    target = torch.zeros(1, 1, 6, 6, dtype=torch.float64)
    target[..., 1:3, 1:3] = 1
    p = 0.9 * target
    p[..., 2, 3] = torch.nan
    assert InstanceBoxGIoULoss()(p, target).isnan()


def test_merged_components_do_not_widen_each_other():
    """One prediction over two lesions: of it, each lesion's region has no voxel of the other lesion."""
    target, p = torch.zeros(2, 1, 5, 9)
    target[:, 2, 1:3], target[:, 2, 5:8] = 1, 1
    p[:, 2, 1:8] = 1
    # boxes: columns 1-5 (1, 2 and the bridge 3, 4) for 1-3, IoU 2/4; 3-8 for 5-8, IoU 3/5
    assert float(InstanceBoxGIoULoss()(p[None], target[None])) == pytest.approx((1 / 2 + 2 / 5) / 2)


def test_options_are_checked():
    with pytest.raises(ValueError, match=r"`threshold` to be in \(0, 1\), but got 1\.0"):
        InstanceBoxGIoULoss(threshold=1.0)
    with pytest.raises(ValueError, match=r"`connectivity` to be None or an integer in 1\.\.2"):
        InstanceBoxDIoULoss(connectivity=3)(torch.rand(1, 1, 4, 4), torch.ones(1, 1, 4, 4))


@pytest.mark.parametrize("cls", [InstanceBoxGIoULoss, InstanceBoxDIoULoss])
def test_a_pixel_loss_keeps_its_own_threshold(cls):
    target = torch.zeros(1, 1, 6, 8)
    target[0, 0, 1:4, 1:4] = 1
    # a false component of p = 0.3 is there at a threshold of 0.1, and not at 0.5
    p = 0.9 * target
    p[0, 0, 4:6, 6:8] = 0.3
    alone = cls(threshold=0.5)
    inside = InstanceLoss(threshold=0.1, pixel_loss=alone).terms(p, target).pixel
    assert float(inside) == float(alone(p, target))
    assert float(inside) != float(cls(threshold=0.1)(p, target))
