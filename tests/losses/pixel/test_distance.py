"""Distance maps, the penalised cross-entropy, and what every loss beside them has in common."""

from __future__ import annotations

import itertools
import pickle
import sys
from math import log

import numpy as np
import pytest
import torch
from monai.utils import OptionalImportError
from torch.nn.functional import binary_cross_entropy

from monai_instance_loss.losses.pixel import (
    AveragedHausdorffLoss,
    BoundaryLoss,
    DistancePenalisedCELoss,
    HausdorffDTLoss,
    InstanceBoxDIoULoss,
    InstanceBoxGIoULoss,
    LovaszHingeLoss,
    LovaszSoftmaxLoss,
    ShapeAwareLoss,
    TLoss,
)
from monai_instance_loss.losses.pixel.distance import distance_maps, distance_to, signed_distance

SPACED = (AveragedHausdorffLoss, BoundaryLoss, DistancePenalisedCELoss, HausdorffDTLoss, ShapeAwareLoss)
LOSSES = (*SPACED, InstanceBoxDIoULoss, InstanceBoxGIoULoss, LovaszHingeLoss, LovaszSoftmaxLoss, TLoss)


def disk(shape: tuple[int, ...] = (2, 1, 9, 8)) -> torch.Tensor:
    target = torch.zeros(shape)
    target[(slice(None), 0, *[slice(2, 5)] * (len(shape) - 2))] = 1
    return target


def brute_distance(mask: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Distance of every voxel to the nearest True one, pair by pair."""
    inner = np.argwhere(mask) * np.array(spacing)
    out = np.zeros(mask.shape)
    for index in np.ndindex(mask.shape):
        out[index] = np.sqrt((((np.array(index) * spacing) - inner) ** 2).sum(1)).min() if len(inner) else 0
    return out


@pytest.mark.parametrize(
    ("shape", "spacing"), [((7, 6), (1.0, 1.0)), ((7, 6), (0.5, 3.0)), ((4, 5, 1), (2.0, 1.0, 4.0))]
)
def test_distances_against_all_pairs(shape, spacing):
    masks = torch.from_numpy(np.random.default_rng(0).random((3, *shape)) < 0.3)
    given = None if set(spacing) == {1.0} else spacing
    outside, inside = distance_maps(masks, given)
    for row, mask in enumerate(masks.numpy()):
        np.testing.assert_allclose(outside[row], brute_distance(mask, spacing), rtol=1e-12)
        np.testing.assert_allclose(inside[row], brute_distance(~mask, spacing), rtol=1e-12)
    assert torch.equal(distance_to(masks, given), outside)


def test_distances_of_masks_without_boundary_are_zero():
    masks = torch.stack([torch.zeros(4, 4, dtype=torch.bool), torch.ones(4, 4, dtype=torch.bool)])
    assert not any(values.any() for values in distance_maps(masks))
    assert not signed_distance(masks).any()


@pytest.mark.parametrize("spacing", [None, (0.5, 0.8), (3.0, 1.0)])
def test_the_signed_map_is_never_positive_inside(spacing):
    mask = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(0)) < 0.6
    signed = signed_distance(mask, spacing)
    assert (signed[mask] <= 0).all()
    assert (signed[~mask] > 0).all()


def test_a_missing_scipy_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    with pytest.raises(OptionalImportError, match=r'no scipy: run `pip install "monai_instance_loss\[bundle\]"'):
        BoundaryLoss()(torch.rand(1, 1, 4, 4), torch.eye(4)[None, None])


@pytest.mark.parametrize("loss", SPACED)
def test_spacing_is_checked(loss):
    with pytest.raises(TypeError, match="`spacing_mm` to be None or a sequence, but got float"):
        loss(spacing_mm=1.0)
    for wrong in ((1.0,), (1.0, 0.0), (1.0, float("inf"))):
        with pytest.raises(ValueError, match="`spacing_mm` to be 2 or 3 positive finite numbers, but got"):
            loss(spacing_mm=wrong)
    with pytest.raises(ValueError, match="`spacing_mm` to have one value for each of 2 spatial axes, but got"):
        loss(spacing_mm=(1.0, 1.0, 1.0))(torch.rand(2, 1, 9, 8), disk())


def test_penalised_cross_entropy_by_hand():
    # target at 0 and 1 of six voxels, p = 0.5, so that every voxel costs log 2.
    # inside: distances 2, 1, penalties 0, 1; outside: distances 1, 2, 3, 4, penalties 1, 2/3, 1/3, 0
    target = torch.tensor([[[[1.0, 1, 0, 0, 0, 0]]]])
    expected = (1 + 2 + 2 + 5 / 3 + 4 / 3 + 1) / 6 * log(2)
    assert float(DistancePenalisedCELoss()(0.5 * torch.ones_like(target), target)) == pytest.approx(expected)


@pytest.mark.parametrize(("shape", "spacing"), [((2, 2, 7, 6), (1.0, 2.5)), ((1, 1, 4, 5, 6), (3.0, 1.0, 1.0))])
def test_penalised_cross_entropy_against_loops(soft_batch, shape, spacing):
    logits, target = soft_batch(shape, 1)
    loss = DistancePenalisedCELoss(spacing_mm=spacing, sigmoid=True, reduction="none")(logits, target)
    for block in itertools.product(*map(range, shape[:2])):
        mask, entropy = (
            target[block].numpy() > 0,
            binary_cross_entropy(logits[block].sigmoid(), target[block], reduction="none"),
        )
        penalty = np.zeros(mask.shape)
        for side in (mask, ~mask):
            distance = brute_distance(~side, spacing)[side]
            spread = distance.max() - distance.min()
            penalty[side] = (distance.max() - distance) / spread if spread else 1
        assert float(loss[block]) == pytest.approx(float(((1 + penalty) * entropy.numpy()).mean()))


def test_penalised_cross_entropy_scales_by_the_voxels_that_count():
    # as a target at 0 of three voxels: penalties 1; 1, 0. With the ignored one the farthest would be 3 away
    target = torch.tensor([[[[1.0, 0, 0, -1]]]])
    value = DistancePenalisedCELoss(ignore_index=-1)(0.5 * torch.ones_like(target), target)
    assert float(value) == pytest.approx((2 + 2 + 1) / 3 * log(2))


def test_penalised_cross_entropy_of_one_voxel_and_of_none():
    # one voxel: all of its side is equally near, so weight 2; without boundary it is plain cross-entropy
    target = torch.zeros(1, 1, 1, 3)
    p = torch.full_like(target, 0.5)
    assert float(DistancePenalisedCELoss()(p, target)) == pytest.approx(log(2))
    target[..., 1] = 1
    assert float(DistancePenalisedCELoss()(p, target)) == pytest.approx(2 * log(2))


@pytest.mark.parametrize("logits", [-1e4, 0.0, 1e4, "mixed"])
@pytest.mark.parametrize("shape", [(2, 1, 9, 8), (1, 1, 6, 7, 5), (2, 1, 8, 1), (1, 1, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("loss", LOSSES)
def test_finite_with_graph_whatever_is_empty_or_full(loss, shape, logits):
    for target in (disk(shape), torch.zeros(shape), torch.ones(shape)):
        values = (
            torch.linspace(-1e4, 1e4, target.numel()).view(shape) if logits == "mixed" else torch.full(shape, logits)
        )
        x = values.requires_grad_()
        value = loss(sigmoid=True)(x, target)
        value.backward()
        assert value.shape == ()
        assert value.isfinite()
        assert x.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(0, 2, 8, 8), (0, 1, 4, 4, 4), (2, 1, 0, 4)], ids=str)
@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_at_all_is_zero_with_graph(loss, shape):
    x = torch.zeros(shape, requires_grad=True)
    value = loss(sigmoid=True)(x, torch.zeros(shape))
    value.backward()
    assert float(value.detach()) == 0
    assert x.grad.shape == shape


@pytest.mark.parametrize("target", [disk(), torch.zeros(2, 1, 9, 8)], ids=["lesion", "empty"])
@pytest.mark.parametrize("loss", LOSSES)
def test_nan_gives_nan(loss, target):
    x = torch.zeros(2, 1, 9, 8)
    x[1, 0, 7, 7] = torch.nan
    assert loss(sigmoid=True)(x, target).isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_is_computed_in_float32(soft_batch, loss, dtype):
    logits, target = soft_batch((2, 1, 9, 8), 2)
    half = logits.to(dtype).requires_grad_()
    single = half.detach().float().requires_grad_()
    values = loss(sigmoid=True)(half, target), loss(sigmoid=True)(single, target)
    for value in values:
        value.backward()
    assert values[0].dtype == torch.float32
    assert torch.equal(*values)
    torch.testing.assert_close(half.grad, single.grad.to(dtype))


@pytest.mark.parametrize("loss", LOSSES)
def test_softmax_scores_each_class_against_the_rest(soft_batch, loss):
    logits, _ = soft_batch((2, 3, 8, 9), 4)
    labels = logits.roll(1, 2).argmax(1, keepdim=True)
    onehot = torch.cat([labels == index for index in range(3)], 1)
    value = loss(softmax=True, to_onehot_y=True, include_background=False, reduction="sum")(logits, labels)
    p = logits.softmax(1)[:, 1:]
    torch.testing.assert_close(value, loss(reduction="sum")(p, onehot[:, 1:]))
    if loss is not LovaszSoftmaxLoss:
        singles = [loss()(p[b, None, c, None], onehot[b, None, c + 1, None]) for b in range(2) for c in range(2)]
        torch.testing.assert_close(value, torch.stack(singles).sum())


@pytest.mark.parametrize("loss", LOSSES)
def test_reductions(soft_batch, loss):
    logits, target = soft_batch((3, 2, 8, 7), 5)
    channels = 1 if loss is LovaszSoftmaxLoss else 2
    none = loss(sigmoid=True, reduction="none")(logits, target)
    assert none.shape == (3, channels, 1, 1)
    torch.testing.assert_close(loss(sigmoid=True)(logits, target), none.mean())
    torch.testing.assert_close(loss(sigmoid=True, reduction="sum")(logits, target), none.sum())


@pytest.mark.parametrize("loss", LOSSES)
def test_ignored_voxels_have_no_say(soft_batch, loss):
    logits, target = soft_batch((2, 1, 10, 9), 6)
    marked = target.clone()
    marked[:, :, 6:, 5:] = -1
    ours = loss(sigmoid=True, ignore_index=-1)
    values = []
    for fill in (-3.0, 4.0, 1e4, torch.nan):
        x = logits.clone()
        x[:, :, 6:, 5:] = fill
        x.requires_grad_()
        values.append(ours(x, marked))
        (grad,) = torch.autograd.grad(values[-1], x)
        # through a NaN activation even a gradient of 0 comes back as NaN
        assert fill != fill or not grad[:, :, 6:, 5:].any()
    assert values[0].isfinite()
    assert len({float(value.detach()) for value in values}) == 1
    assert ours(logits, torch.full_like(target, -1)).isfinite()


@pytest.mark.parametrize("loss", LOSSES)
def test_the_target_may_be_of_any_type(soft_batch, loss):
    logits, target = soft_batch((2, 1, 8, 8), 7)
    values = [
        loss(sigmoid=True)(logits, target.to(dtype)) for dtype in (torch.float32, torch.bool, torch.uint8, torch.int64)
    ]
    assert all(torch.equal(values[0], value) for value in values)


@pytest.mark.parametrize("shape", [(2, 1, 5, 6), (1, 1, 4, 3, 4)], ids=str)
@pytest.mark.parametrize("loss", [loss for loss in LOSSES if not loss.__name__.startswith("InstanceBox")])
def test_gradcheck(soft_batch, loss, shape):
    logits, target = soft_batch(shape, 8)
    options = {"spacing_mm": (1.0, 2.0, 1.5)[: len(shape) - 2]} if loss in SPACED else {}
    module = loss(sigmoid=True, **options).double()
    assert torch.autograd.gradcheck(lambda x: module(x, target), logits.requires_grad_())


@pytest.mark.parametrize("loss", LOSSES)
def test_pickle_repr_and_arguments_stay(soft_batch, loss):
    logits, target = soft_batch((1, 1, 8, 8), 9)
    before = logits.clone(), target.clone()
    module = loss(sigmoid=True)
    value = module(logits, target)
    assert torch.equal(pickle.loads(pickle.dumps(module))(logits, target), value)
    assert torch.equal(logits, before[0])
    assert torch.equal(target, before[1])
    assert "sigmoid=True" in repr(module)
    with pytest.raises(ValueError, match="`reduction` to be one of"):
        loss(reduction="median")
