"""LevelsLoss: at every level the loss class called directly, with that level's voxels and target."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from monai_instance_loss.losses import BiCCLoss, BlobLoss, CCLoss, InstanceLoss
from monai_instance_loss.nnunet import Labels, LevelsLoss, shrink_target

SIZES = [(8, 16, 16), (8, 8, 8), (4, 4, 4)]
SPACINGS = [(3.0, 1.0, 1.0), (3.0, 2.0, 2.0), (6.0, 4.0, 4.0)]
WEIGHTS = (0.5, 0.3, 0.2)


@pytest.fixture
def step():
    """Outputs of three levels and targets as nnU-Net makes them, the nearest voxel at smaller ones."""
    generator = torch.Generator().manual_seed(0)
    outputs = [torch.randn(2, 2, *size, generator=generator) for size in SIZES]
    target = (torch.rand(2, 1, *SIZES[0], generator=generator) > 0.98).short()
    targets = [F.interpolate(target.float(), size, mode="nearest-exact").short() for size in SIZES]
    return outputs, targets


@pytest.mark.parametrize("kind", [InstanceLoss, BlobLoss, CCLoss, BiCCLoss])
def test_it_is_the_loss_called_directly_at_every_level(step, kind):
    outputs, targets = step
    options = [{"spacing_mm": spacing} if issubclass(kind, CCLoss) else {} for spacing in SPACINGS]
    labels = Labels()
    value = LevelsLoss(kind(**labels.flags, **options[0]), WEIGHTS, labels)(outputs, targets)
    parts = [F.adaptive_max_pool3d(targets[0].float(), size) for size in SIZES]
    direct = [
        kind(**labels.flags, **option)(output, part)
        for option, output, part in zip(options, outputs, parts, strict=True)
    ]
    torch.testing.assert_close(value, sum(weight * each for weight, each in zip(WEIGHTS, direct, strict=True)))


def test_lesions_that_nnunets_levels_lose_are_asked_for(step):
    outputs, targets = step
    target = torch.zeros_like(targets[0])
    target[0, 0, 2, 2, 2] = 1
    nearest = [F.interpolate(target.float(), size, mode="nearest-exact") for size in SIZES]
    assert [int(level.sum()) for level in nearest] == [1, 0, 0]
    labels = Labels()
    flat = [torch.zeros_like(output, requires_grad=True) for output in outputs]
    LevelsLoss(BlobLoss(**labels.flags, weights={"pixel": 0}), WEIGHTS, labels)(flat, nearest).backward()
    # at each level the lesion's probability is pulled up, and so its logit down in the gradient
    assert flat[1].grad[0, 1, 2, 1, 1] < 0
    assert flat[2].grad[0, 1, 1, 0, 0] < 0


def test_a_level_without_weight_is_not_computed(step):
    outputs, targets = step
    outputs[2] = torch.full_like(outputs[2], torch.nan)
    labels = Labels()
    loss = LevelsLoss(InstanceLoss(**labels.flags), (0.75, 0.25, 0.0), labels)
    assert torch.isfinite(loss(outputs, targets))


def test_one_tensor_is_one_level_in_2d():
    labels = Labels(regions=True)
    output, target = torch.randn(2, 1, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    target[:, :, 2:4, 2:4] = True
    loss = InstanceLoss(**labels.flags)
    torch.testing.assert_close(LevelsLoss(loss, labels=labels)(output, target), loss(output, target.float()))


def test_half_precision_is_computed_in_float32(step):
    outputs, targets = step
    labels = Labels()
    loss = LevelsLoss(InstanceLoss(**labels.flags), WEIGHTS, labels)
    half = [output.half() for output in outputs]
    assert torch.equal(loss(half, targets), loss([output.float() for output in half], targets))


def test_the_output_is_kept_in_validation_alone(step):
    outputs, targets = step
    loss = LevelsLoss(InstanceLoss(**Labels().flags), WEIGHTS)
    with torch.no_grad():
        loss(outputs, targets)
    assert loss.last_output is outputs[0]
    loss(outputs, targets)
    assert loss.last_output is None


def test_the_number_of_levels_must_fit(step):
    with pytest.raises(ValueError, match="Expected `outputs` to be of 2 levels, but got 3"):
        LevelsLoss(InstanceLoss(**Labels().flags), (0.5, 0.5))(*step)


def test_shrunk_targets_keep_ignored_voxels_out_of_each_level():
    labels = Labels(ignore_label=2)
    target = torch.zeros(1, 1, 8, 8, dtype=torch.int16)
    target[0, 0, :4] = 2
    target[0, 0, 6, 6] = 1
    outputs = [torch.zeros(1, 2, 8, 8, requires_grad=True), torch.zeros(1, 2, 4, 4, requires_grad=True)]
    LevelsLoss(InstanceLoss(**labels.flags), (0.5, 0.5), labels)(outputs, target).backward()
    assert outputs[1].grad[:, :, :2].abs().sum() == 0
    assert outputs[1].grad[:, :, 2:].abs().sum() > 0
    assert shrink_target(target, [(4, 4)], 2)[0][0, 0, :, 3].tolist() == [2, 2, 0, 1]
