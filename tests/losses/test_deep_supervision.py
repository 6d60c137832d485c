"""DeepSupervisionLoss: MONAI's, with voxel sizes that follow the levels."""

from __future__ import annotations

import pickle

import monai.losses
import pytest
import torch
import torch.nn.functional as F

from monai_instance_loss.losses import BiCCLoss, CCLoss, DeepSupervisionLoss, InstanceLoss
from monai_instance_loss.losses.pixel import BoundaryLoss, TLoss


@pytest.fixture
def levels(soft_batch):
    logits, target = soft_batch((2, 1, 16, 24), 5)
    # rows keep their resolution, columns halve and then both halve
    return [logits, F.avg_pool2d(logits, (1, 2)), F.avg_pool2d(logits, (2, 4))], target


@pytest.mark.parametrize("kind", [CCLoss, BiCCLoss])
def test_each_level_has_the_voxels_of_its_size(levels, kind):
    inputs, target = levels
    spacings = [(3.1, 1.0), (3.1, 2.0), (6.2, 4.0)]
    targets = [F.interpolate(target, size=x.shape[2:], mode="nearest-exact") for x in inputs]
    values = [
        kind(sigmoid=True, spacing_mm=spacing)(x, y) for x, y, spacing in zip(inputs, targets, spacings, strict=True)
    ]
    loss = DeepSupervisionLoss(kind(sigmoid=True, spacing_mm=spacings[0]))
    expected = values[0] + 0.5 * values[1] + 0.25 * values[2]
    torch.testing.assert_close(loss(inputs, target), expected.float())
    # with the spacing of the full resolution on every level, as MONAI's wrapper has it, the cells are other ones
    plain = monai.losses.DeepSupervisionLoss(kind(sigmoid=True, spacing_mm=spacings[0]))
    assert not torch.allclose(plain(inputs, target), expected.float(), rtol=1e-4)


def test_without_spacing_it_is_monais(levels):
    inputs, target = levels
    for options in ({"weight_mode": "two"}, {"weights": [1.0, 0.1, 0.2]}):
        ours = DeepSupervisionLoss(InstanceLoss(sigmoid=True), **options)
        monais = monai.losses.DeepSupervisionLoss(InstanceLoss(sigmoid=True), **options)
        assert torch.equal(ours(inputs, target), monais(inputs, target))
    assert torch.equal(ours(inputs[0], target), monais(inputs[0], target))


def test_losses_inside_the_loss_are_rescaled_and_the_loss_itself_is_not(levels):
    inputs, target = levels
    boundary = BoundaryLoss(sigmoid=True, spacing_mm=(2.0, 1.0))
    inner = CCLoss(sigmoid=True, spacing_mm=(2.0, 1.0), pixel_loss=boundary)
    loss = DeepSupervisionLoss(inner)
    level = loss.at_size((16, 12), (16, 24))
    assert level.spacing_mm == (2.0, 2.0)
    assert level.pixel_loss.spacing_mm == (2.0, 2.0)
    loss(inputs, target)
    assert inner.spacing_mm == boundary.spacing_mm == (2.0, 1.0)
    assert loss.loss is inner
    assert inner.pixel_loss is boundary
    assert torch.equal(pickle.loads(pickle.dumps(loss))(inputs, target), loss(inputs, target))


def test_parameters_are_shared_with_the_levels(levels):
    inputs, target = levels
    loss = DeepSupervisionLoss(CCLoss(sigmoid=True, spacing_mm=(2.0, 1.0), pixel_loss=TLoss(sigmoid=True)))
    loss(inputs, target).backward()
    (parameter,) = loss.parameters()
    summed = parameter.grad.clone()
    parameter.grad = None
    for weight, x in zip((1, 0.5, 0.25), inputs, strict=True):
        y = F.interpolate(target, size=x.shape[2:], mode="nearest-exact")
        (weight * loss.loss.pixel_loss(x.float(), y)).backward()
    torch.testing.assert_close(summed, parameter.grad)


def test_three_dimensions():
    loss = DeepSupervisionLoss(CCLoss(sigmoid=True, spacing_mm=(1.0, 1.0, 3.0)))
    assert loss.at_size((8, 8, 4), (16, 16, 4)).spacing_mm == (2.0, 2.0, 3.0)
    assert loss.at_size((16, 16, 4), (16, 16, 4)) is loss.loss


@pytest.mark.parametrize("spatial", [(8, 8), (6, 8, 4)])
def test_levels_that_dynunet_stacks_are_levels_of_a_list(spatial):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 1, *spatial, generator=generator)
    target = (torch.rand(2, 1, *spatial, generator=generator) > 0.8).float()
    inner = InstanceLoss(sigmoid=True)
    loss = DeepSupervisionLoss(inner)
    expected = sum(
        weight * inner(level, target) for weight, level in zip((1, 0.5, 0.25), logits.unbind(1), strict=True)
    )
    torch.testing.assert_close(loss(logits, target), expected)
    torch.testing.assert_close(loss(list(logits.unbind(1)), target), expected)
    torch.testing.assert_close(sum(inner.weights[name] * term for name, term in loss.last_terms.items()), expected)
    every = loss.terms(logits, target)
    torch.testing.assert_close(sum(inner.weights[name] * term for name, term in every._asdict().items()), expected)
    if len(spatial) == 3:
        torch.testing.assert_close(inner(logits, target), expected)
        for weighted, alone in zip(every, inner.terms(logits, target), strict=True):
            torch.testing.assert_close(weighted, alone)


def test_a_volume_whose_target_lacks_its_channel_is_no_stack_of_levels():
    with pytest.raises(ValueError, match=r"Expected `target` to have shape \(1, 1, 4, 5, 6\)"):
        InstanceLoss(sigmoid=True)(torch.zeros(1, 1, 4, 5, 6), torch.zeros(1, 4, 5, 6))


def test_a_network_that_is_not_training_gives_one_level():
    target = torch.zeros(1, 1, 8, 8)
    target[..., 2:4, 2:4] = 1
    loss = DeepSupervisionLoss(InstanceLoss(sigmoid=True))
    assert float(loss(torch.zeros(1, 1, 8, 8), target)) == float(loss.loss(torch.zeros(1, 1, 8, 8), target))


def test_a_loss_without_terms_has_none_to_log():
    loss = DeepSupervisionLoss(torch.nn.MSELoss())
    loss([torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 2, 2)], torch.ones(1, 1, 4, 4))
    assert loss.last_terms is None
