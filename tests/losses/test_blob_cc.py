"""BlobLoss, CCLoss and BiCCLoss against loops written from the papers' formulas."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from monai_instance_loss import label_instances
from monai_instance_loss.instances.voronoi import nearest_instance
from monai_instance_loss.losses import BiCCLoss, BlobLoss, CCLoss, DiceRegionLoss
from monai_instance_loss.losses.pixel import BinaryCELoss


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


def test_inverse_size_weighting_by_hand():
    # one lesion of 1 in 4 voxels: its voxel weighs 4 / (2 * 1) = 2, the others 4 / (2 * 3) = 2/3
    # Dice: 1 - 2 * (2 * 0.5) / (2 * 0.5 + 2/3 * 0.3 + 2 * 1) = 1 - 2 / 3.2
    p = torch.tensor([[[[0.5, 0.3, 0.0, 0.0]]]])
    target = torch.tensor([[[[1.0, 0.0, 0.0, 0.0]]]])
    for kind in (BlobLoss, CCLoss):
        loss = kind(instance_loss=DiceRegionLoss(), inverse_size_weighting=True)
        assert float(loss.terms(p, target).instance) == pytest.approx(1 - 2 / 3.2, abs=1e-4)
        # cross-entropy: (2 * log 2 - 2/3 * log 0.7) / 4
        loss = kind(instance_loss=BinaryCELoss(), inverse_size_weighting=True)
        expected = (2 * np.log(2) - 2 / 3 * np.log(0.7)) / 4
        assert float(loss.terms(p, target).instance) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("shape", "spacing"), SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["blob", "true"])
def test_inverse_size_weighting_equals_the_loop(shape, spacing, kind):
    logits, target = batch(shape, 2)
    make = BlobLoss if kind == "blob" else partial(CCLoss, spacing_mm=spacing)
    term = make(sigmoid=True, instance_loss=BinaryCELoss(), inverse_size_weighting=True).terms(logits, target).instance
    classes = []
    for channel in range(shape[1]):
        samples = []
        for x, y in zip(logits[:, channel], target[:, channel], strict=True):
            labels = components(y)
            # the partition is the package's own here: the test of the cells is above
            partition = nearest_instance(label_instances(y[None, None]), spacing)[0, 0].numpy()
            values = []
            for k in range(1, labels.max() + 1):
                inside = (labels == 0) | (labels == k) if kind == "blob" else partition == k
                region = torch.from_numpy(inside)
                ce = F.binary_cross_entropy_with_logits(x[region], y[region], reduction="none")
                on = y[region] > 0
                # the mean of two means, where both sides are there
                values.append((ce[on].mean() + ce[~on].mean()) / 2)
            samples.append(torch.stack(values).mean())
        classes.append(torch.stack(samples).mean())
    torch.testing.assert_close(term, torch.stack(classes).mean(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("shape", "spacing"), SHAPES, ids=str)
@pytest.mark.parametrize("kind", [BlobLoss, CCLoss, BiCCLoss])
def test_any_callable_is_a_criterion(shape, spacing, kind):
    logits, target = batch(shape, 4)
    options = {} if kind is BlobLoss else {"spacing_mm": spacing}
    options |= {"alpha": 0.4} if kind is BiCCLoss else {}
    # flat on cells without target, as a callable is: presence is a RegionLoss's
    flat = _FlatDice()
    fast = kind(sigmoid=True, instance_loss=flat, **options).terms(logits, target).instance
    slow = kind(sigmoid=True, instance_loss=lambda p, y: flat(p, y), **options).terms(logits, target).instance
    torch.testing.assert_close(slow, fast, rtol=1e-6, atol=1e-7)
    got, wanted = (torch.autograd.grad(value, logits)[0] for value in (slow, fast))
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-9)


def test_a_callable_sees_neither_ignored_voxels_nor_other_lesions():
    seen = []

    def criterion(p, y):
        seen.append((p[0, 0, 0].tolist(), y[0, 0, 0].tolist()))
        return p.sum()

    p = torch.tensor([[[[0.5, 0.25, 0.75, 0.125, 1.0]]]])
    target = torch.tensor([[[[1.0, 0.0, 0.0, 2.0, 1.0]]]])
    BlobLoss(instance_loss=criterion, ignore_index=2).terms(p, target)
    assert seen == [([0.5, 0.25, 0.75, 0, 0], [1, 0, 0, 0, 0]), ([0, 0.25, 0.75, 0, 1.0], [0, 0, 0, 0, 1])]
    seen.clear()
    # of the voxels between, 1 is nearer to the first lesion; 2 is as near to either, and scipy decides
    CCLoss(instance_loss=criterion, ignore_index=2).terms(p, target)
    assert [y for _, y in seen] == [[1, 0, 0, 0, 0], [0, 0, 0, 0, 1]]
    assert sum(first[1] for first, _ in seen[:1]) == 0.25
    assert all(values[3] == 0 for values, _ in seen)


class _FlatDice(DiceRegionLoss):
    def score_false(self, sums, presence):
        return self.score(sums)


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
    assert float(empty.detach()) == 0
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
        (lambda: CCLoss(spacing_mm=(1, -1)), r"`spacing_mm` to be 2 or 3 positive finite numbers, but got \(1, -1\)"),
        (lambda: CCLoss(spacing_mm=(1, 1, 1, 1)), "Expected `spacing_mm` to be 2 or 3 positive finite numbers"),
        (lambda: BiCCLoss(alpha=1.5), r"Expected `alpha` to be in \[0, 1\], but got 1.5"),
        (lambda: BiCCLoss(threshold=0), r"Expected `threshold` to be in \(0, 1\), but got 0"),
        (
            lambda: BlobLoss(instance_loss=torch.nn.MSELoss(), inverse_size_weighting=True),
            "Expected `inverse_size_weighting` to be False .* but got True for MSELoss",
        ),
        (
            lambda: CCLoss(spacing_mm=(1, 1, 1))(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)),
            "each of 2 spatial axes",
        ),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("kind", [BlobLoss, CCLoss])
def test_a_sample_without_lesions_is_scored_as_a_whole_and_ignored_voxels_are_in_no_mean(kind):
    p = torch.tensor([[[[0.9, 0.1, 0.2, 0.3]]], [[[0.4, 0.5, 0.6, 0.8]]]])
    target = torch.tensor([[[[1.0, 0.0, 0.0, 7.0]]], [[[0.0, 0.0, 7.0, 7.0]]]])
    # one lesion in the first sample: three voxels in its region. None in the second: two voxels
    first, second = -(2 * np.log(0.9) + np.log(0.8)) / 3, -(np.log(0.6) + np.log(0.5)) / 2
    loss = kind(instance_loss=BinaryCELoss(), ignore_index=7)
    assert float(loss.terms(p, target).instance) == pytest.approx((first + second) / 2, abs=1e-6)
    # sums of p, and ten times the number of target voxels: 0.9 + 0.1 + 0.2 + 10 and 0.4 + 0.5
    loss = kind(instance_loss=lambda p, y: p.sum() + 10 * y.sum(), ignore_index=7)
    assert float(loss.terms(p, target).instance) == pytest.approx((11.2 + 0.9) / 2, abs=1e-6)
