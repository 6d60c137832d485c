"""BlobLoss, CCLoss and BiCCLoss against loops written from the papers' formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from monai_instance_loss.losses import BiCCLoss, BlobLoss, CCLoss, DiceRegionLoss


def dice_ce(logit: torch.Tensor, target: torch.Tensor, region: torch.Tensor) -> torch.Tensor:
    """Dice + mean binary cross-entropy of the voxels of a region, as MONAI defines Dice."""
    p, y, x = torch.sigmoid(logit)[region], target[region], logit[region]
    dice = 1 - (2 * (p * y).sum() + 1e-5) / (p.sum() + y.sum() + 1e-5)
    return dice + F.binary_cross_entropy_with_logits(x, y)


def presence(logit: torch.Tensor, region: torch.Tensor) -> torch.Tensor:
    p = torch.sigmoid(logit)[region]
    return (p * p.detach()).sum() / p.detach().sum()


def components(mask: torch.Tensor) -> np.ndarray:
    return ndimage.label(mask.numpy(), np.ones((3,) * mask.ndim))[0]


def cells(labels: np.ndarray, spacing) -> np.ndarray:
    """Nearest component by comparing one distance map a component; nothing clever."""
    maps = [ndimage.distance_transform_edt(labels != k, sampling=spacing) for k in range(1, labels.max() + 1)]
    return np.argmin(np.stack(maps), 0) + 1


def naive_block(kind: str, logit: torch.Tensor, target: torch.Tensor, spacing, threshold: float = 0.5) -> torch.Tensor:
    """The instance term of one sample and class."""
    source = target > 0 if kind != "pred" else torch.sigmoid(logit) >= threshold
    labels = components(source)
    everything = torch.ones_like(target, dtype=torch.bool)
    if labels.max() == 0:
        return dice_ce(logit, target, everything)
    values = []
    partition = None if kind == "blob" else cells(labels, spacing)
    for k in range(1, labels.max() + 1):
        inside = (labels == 0) | (labels == k) if partition is None else partition == k
        region = torch.from_numpy(inside)
        if kind == "pred" and target[region].sum() == 0:
            ce = F.binary_cross_entropy_with_logits(logit[region], target[region])
            values.append(presence(logit, region) + ce)
        else:
            values.append(dice_ce(logit, target, region))
    return torch.stack(values).mean()


def naive(kind: str, logits: torch.Tensor, target: torch.Tensor, spacing) -> torch.Tensor:
    """Mean over samples of each class, then over the classes."""
    per_class = [
        torch.stack([naive_block(kind, logits[b, c], target[b, c], spacing) for b in range(logits.shape[0])]).mean()
        for c in range(logits.shape[1])
    ]
    return torch.stack(per_class).mean()


def batch(shape, seed=0):
    rng = np.random.default_rng(seed)
    sigma = (0, 0, *[1.2] * (len(shape) - 2))
    field = ndimage.gaussian_filter(rng.normal(size=shape), sigma)
    target = torch.from_numpy((field > np.quantile(field, 0.92)).astype(np.float64))
    own = field + 0.6 * ndimage.gaussian_filter(rng.normal(size=shape), sigma)
    logits = torch.from_numpy(4 * (own - np.quantile(own, 0.92)) / own.std())
    return logits.requires_grad_(), target


SHAPES = [
    ((2, 1, 24, 25), None),
    ((2, 3, 20, 22), (1.0, 2.7)),
    ((2, 1, 12, 13, 14), None),
    ((1, 2, 10, 12, 9), (0.9, 1.1, 3.3)),
]


def unambiguous(labels: np.ndarray, spacing) -> bool:
    """Whether no voxel is equally near to two components: there the partition is not determined."""
    if labels.max() < 2:
        return True
    maps = [ndimage.distance_transform_edt(labels != k, sampling=spacing) for k in range(1, labels.max() + 1)]
    near = np.sort(np.stack(maps), 0)
    return bool((near[1] - near[0] > 1e-9).all())


@pytest.mark.parametrize(("shape", "spacing"), SHAPES, ids=str)
def test_blob_loss_equals_the_loop(shape, spacing):
    logits, target = batch(shape)
    term = BlobLoss(sigmoid=True).terms(logits, target).instance
    expected = naive("blob", logits, target, spacing)
    torch.testing.assert_close(term, expected, rtol=1e-5, atol=1e-6)
    got, wanted = (torch.autograd.grad(value, logits)[0] for value in (term, expected))
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(("shape", "spacing"), SHAPES, ids=str)
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_cell_losses_equal_the_loop(shape, spacing, alpha):
    # irrational spacing leaves no voxel equally near to two components, so that there is one right partition
    spacing = tuple(np.sqrt(p) for p in (2, 3, 5))[: len(shape) - 2] if spacing is None else spacing
    spacing = tuple(s * (1 + 1e-3 * np.sqrt(k + 2)) for k, s in enumerate(spacing))
    logits, target = batch(shape, 1)
    term = BiCCLoss(sigmoid=True, alpha=alpha, spacing_mm=spacing).terms(logits, target).instance
    true, pred = (naive(kind, logits, target, spacing) for kind in ("true", "pred"))
    expected = (1 - alpha) * true + alpha * pred
    sides = [target > 0, torch.sigmoid(logits) >= 0.5]
    blocks = [components(side[b, c]) for side in sides for b in range(shape[0]) for c in range(shape[1])]
    if all(unambiguous(labels, spacing) for labels in blocks):
        torch.testing.assert_close(term, expected, rtol=1e-5, atol=1e-6)
    else:
        # ties are decided by scipy on one side and by the order of components on the other: a few voxels differ
        torch.testing.assert_close(term, expected, rtol=2e-2, atol=1e-3)


def test_two_lesions_by_hand():
    # cells of a row of 6 with lesions at 0 and 5: voxels 0-2 and 3-5; with Dice alone and probabilities
    # cell 1: p 0.9, 0.1, 0 on target 1, 0, 0: 1 - 2 * 0.9 / (1.0 + 1) = 0.1
    # cell 2: p 0, 0.2, 0.3 on target 0, 0, 1: 1 - 2 * 0.3 / (0.5 + 1) = 0.6
    p = torch.tensor([[[[0.9, 0.1, 0.0, 0.0, 0.2, 0.3]]]])
    target = torch.tensor([[[[1.0, 0.0, 0.0, 0.0, 0.0, 1.0]]]])
    cell = CCLoss(instance_loss=DiceRegionLoss()).terms(p, target).instance
    assert float(cell) == pytest.approx((0.1 + 0.6) / 2, abs=1e-4)
    # blob: the other lesion's voxel is masked out: 1 - 2 * 0.9 / (1.2 + 1), 1 - 2 * 0.3 / (0.6 + 1)
    blob = BlobLoss(instance_loss=DiceRegionLoss()).terms(p, target).instance
    assert float(blob) == pytest.approx((1 - 1.8 / 2.2 + 1 - 0.6 / 1.6) / 2, abs=1e-4)


def test_one_lesion_is_the_criterion_on_the_volume():
    logits, _ = batch((1, 1, 16, 17))
    target = torch.zeros_like(logits)
    target[0, 0, 3:6, 4:8] = 1
    expected = dice_ce(logits[0, 0], target[0, 0], torch.ones(16, 17, dtype=torch.bool))
    for loss in (BlobLoss(sigmoid=True), CCLoss(sigmoid=True)):
        torch.testing.assert_close(loss.terms(logits, target).instance, expected, rtol=1e-5, atol=1e-6)


def test_bicc_without_the_predicted_side_is_cc():
    logits, target = batch((2, 2, 18, 19))
    cc, bicc = CCLoss(sigmoid=True)(logits, target), BiCCLoss(sigmoid=True, alpha=0)(logits, target)
    assert torch.equal(cc, bicc)


@pytest.mark.parametrize("loss", [BlobLoss, CCLoss, BiCCLoss])
@pytest.mark.parametrize("fill", ["none", "target", "prediction", "all"])
def test_empty_and_full_volumes_are_finite(loss, fill):
    target = torch.ones(2, 1, 5, 6) if fill in ("target", "all") else torch.zeros(2, 1, 5, 6)
    for level in (9.0, 1e4):
        logits = torch.full((2, 1, 5, 6), level if fill in ("prediction", "all") else -level, requires_grad=True)
        value = loss(sigmoid=True)(logits, target)
        value.backward()
        assert value.isfinite()
        assert logits.grad.isfinite().all()
    empty = loss(sigmoid=True)(logits[:0], target[:0])
    assert float(empty) == 0
    assert empty.requires_grad


@pytest.mark.parametrize("loss", [BlobLoss, CCLoss, BiCCLoss])
def test_nan_is_seen(loss):
    logits, target = batch((1, 1, 12, 12))
    logits = logits.detach().clone()
    logits[0, 0, 0, 0] = torch.nan
    assert loss(sigmoid=True, weights={"pixel": 0})(logits, target).isnan()


@pytest.mark.parametrize("loss", [BlobLoss, CCLoss, BiCCLoss])
def test_instance_maps_softmax_and_ignored_voxels(loss):
    logits, target = batch((1, 1, 14, 14), 3)
    value = loss(sigmoid=True)(logits, target)
    labels = torch.from_numpy(components(target[0, 0]))[None, None]
    torch.testing.assert_close(loss(sigmoid=True, target_is_instances=True)(logits, labels), value)
    both = torch.cat([torch.zeros_like(logits), logits], 1)
    softmax = loss(softmax=True, to_onehot_y=True, include_background=False).terms(both, target).instance
    torch.testing.assert_close(softmax, loss(sigmoid=True).terms(logits, target).instance)
    ignored = target.clone()
    ignored[0, 0, :3] = 2
    options = {"sigmoid": True, "ignore_index": 2, "weights": {"pixel": 0}}
    other = logits.detach().clone()
    other[0, 0, :3] = 5
    torch.testing.assert_close(loss(**options)(other, ignored), loss(**options)(logits, ignored).detach())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CCLoss(spacing_mm=(1, -1)), r"Expected `spacing_mm` to be positive, but got \(1.0, -1.0\)"),
        (lambda: CCLoss(spacing_mm=(1, 1, 1, 1)), "Expected `spacing_mm` to have 2 or 3 values"),
        (lambda: BiCCLoss(alpha=1.5), r"Expected `alpha` to be in \[0, 1\], but got 1.5"),
        (lambda: BiCCLoss(threshold=0), r"Expected `threshold` to be in \(0, 1\), but got 0"),
        (lambda: CCLoss(spacing_mm=(1, 1, 1))(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)), "have 2 values"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
    with pytest.raises(TypeError, match="Expected `instance_loss` to be a RegionLoss"):
        BlobLoss(instance_loss=torch.nn.MSELoss())
