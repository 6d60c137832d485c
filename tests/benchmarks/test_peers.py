"""The implementations that the benchmarks compare with give the numbers that they are said to give."""

from __future__ import annotations

import peers
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.losses import DiceLoss

from monai_instance_loss import label_instances
from monai_instance_loss.losses import BiCCLoss, InstanceLoss

SHAPES = [(2, 1, 20, 24), (2, 1, 9, 12, 10)]


def batch(shape, seed=0, binary=False):
    """Logits of touching, merging, missed and false components, and their target."""
    generator = torch.Generator().manual_seed(seed)
    pool = torch.nn.functional.avg_pool3d if len(shape) == 5 else torch.nn.functional.avg_pool2d
    smooth = pool(torch.rand(shape, generator=generator), 3, 1, 1)
    other = pool(torch.rand(shape, generator=generator), 3, 1, 1)
    target = (smooth > torch.quantile(smooth, 0.9)).float()
    seen = 0.5 * (smooth + other)
    input = 40 * (seen - torch.quantile(seen, 0.9))
    # so far out that a float32 sigmoid is 0 or 1
    return torch.where(input > 0, 200.0, -200.0) if binary else input, target


def assert_same_partition(labels, instances):
    pairs = {*zip(labels.flatten().tolist(), instances.labels.flatten().tolist(), strict=True)}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    assert all((a == 0) == (b == 0) for a, b in pairs)


@given(seed=st.integers(0, 1000), density=st.sampled_from([0.0, 0.05, 0.2, 0.5, 1.0]), shape=st.sampled_from(SHAPES))
def test_max_pooling_finds_the_components(seed, density, shape):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < density
    assert_same_partition(peers.max_pooling_labels(mask), label_instances(mask))


def test_max_pooling_leaves_in_pieces_what_is_longer_than_its_passes():
    mask = torch.ones(1, 1, 1, 6)
    # ids 1 2 3 4 5 6, after one pass 2 3 4 5 6 6, after two
    assert peers.max_pooling_labels(mask, 2).flatten().tolist() == [3, 4, 5, 6, 6, 6]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("terms", ["looped_terms", "dense_terms"])
@pytest.mark.parametrize("binary", [True, False])
def test_terms_and_gradients_are_those_of_instance_loss(terms, shape, binary):
    input, target = batch(shape, binary=binary)
    p = input.sigmoid().requires_grad_()
    ours = InstanceLoss().terms(p, target)
    theirs = getattr(peers, terms)(p, target)
    assert ours.instance != ours.instance_pred
    torch.testing.assert_close(torch.stack(theirs), torch.stack(ours[1:3]), rtol=1e-5, atol=1e-6)
    (expected,) = torch.autograd.grad(ours.instance + ours.instance_pred, p)
    (found,) = torch.autograd.grad(sum(theirs), p)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("terms", ["looped_terms", "dense_terms"])
@pytest.mark.parametrize("bare", ["target", "prediction", "both"])
def test_samples_without_components_count_as_one(terms, bare):
    input, target = batch(SHAPES[1])
    p = input.sigmoid()
    if bare != "prediction":
        target[0] = 0
    if bare != "target":
        p[0] = 0.01
    ours = InstanceLoss().terms(p, target)
    torch.testing.assert_close(torch.stack(getattr(peers, terms)(p, target)), torch.stack(ours[1:3]))


def test_many_pairs_are_sorted_instead_of_tabulated():
    # specks on every second voxel: more pairs of components than voxels
    target = torch.zeros(1, 1, 16, 16)
    target[..., ::2, ::2] = 1
    p = 0.8 * target.roll(2, -1) + 0.05
    p[..., :5, :] = 0.05
    assert label_instances(target).count * label_instances(p >= 0.1).count > target.numel()
    ours = InstanceLoss().terms(p, target)
    torch.testing.assert_close(torch.stack(peers.dense_terms(p, target)), torch.stack(ours[1:3]))


def test_voronoi_terms_are_those_of_bicc():
    # slabs with four voxels between them: no voxel is equally near to two, which scipy and we would settle otherwise
    generator = torch.Generator().manual_seed(0)
    slabs = torch.zeros(1, 1, 12, 6, 5)
    slabs[:, :, [0, 5, 10]] = 1
    p = 0.02 * torch.rand(slabs.shape, generator=generator) + slabs * (
        0.5 + 0.4 * torch.rand(slabs.shape, generator=generator)
    )
    target = slabs.clone()
    target[:, :, 10] = 0
    for alpha, value in enumerate(peers.voronoi_terms(p, target)):
        bicc = BiCCLoss(instance_loss=DiceLoss(), average_over="instance", threshold=0.1, alpha=alpha)
        torch.testing.assert_close(value, bicc.terms(p, target).instance)


def test_losses_add_the_same_pixel_loss():
    input, target = batch(SHAPES[1])
    weights = {"instance": 1, "instance_pred": 1, "false": 0, "missed": 0}
    expected = InstanceLoss(sigmoid=True, weights=weights)(input, target)
    for loss in (peers.looped_instance_loss, peers.dense_instance_loss):
        torch.testing.assert_close(loss(input, target), expected)
