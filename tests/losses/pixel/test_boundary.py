from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from monai_instance_loss.losses.pixel import BoundaryLoss


def test_by_hand():
    # target at 1 and 2 of six voxels 2 mm apart. Outside: 2 mm at 0; 2, 4, 6 mm at 3, 4, 5.
    # inside: 2 mm to the nearest outer voxel each, less the smallest spacing, 2 mm. With p = 0.25: 0.25 * 14 / 6
    target = torch.tensor([[[[0.0, 1, 1, 0, 0, 0]]]])
    p = torch.full_like(target, 0.25)
    assert float(BoundaryLoss(spacing_mm=(3, 2))(p, target)) == pytest.approx(0.25 * 14 / 6)
    # normalized by the largest, 6
    assert float(BoundaryLoss(spacing_mm=(3, 2), normalize=True)(p, target)) == pytest.approx(0.25 * 14 / 36)


@pytest.mark.parametrize("shape", [(2, 2, 9, 8), (1, 1, 6, 5, 7)], ids=str)
def test_equal_to_the_published_map_in_voxels(soft_batch, shape):
    logits, target = soft_batch(shape, 0, foreground=0.5)
    value = BoundaryLoss(sigmoid=True, reduction="none")(logits, target)
    for b in range(shape[0]):
        for c in range(shape[1]):
            mask = target[b, c].numpy() > 0
            published = np.where(mask, 1 - distance_transform_edt(mask), distance_transform_edt(~mask))
            expected = (published * logits[b, c].sigmoid().numpy()).mean()
            assert float(value[b, c]) == pytest.approx(expected)


def test_the_true_mask_is_best():
    target = torch.zeros(1, 1, 12, 12)
    target[..., 2:8, 3:9] = 1
    best = float(BoundaryLoss()(target, target))
    assert best < 0
    for other in (target.roll(1, -1), 1 - target, torch.zeros_like(target), 0.9 * target):
        assert float(BoundaryLoss()(other, target)) > best


def test_the_gradient_is_the_map_and_zero_without_target():
    target = torch.zeros(2, 1, 1, 4)
    target[0, ..., :2] = 1
    p = torch.full_like(target, 0.5).requires_grad_()
    BoundaryLoss(reduction="sum")(p, target).backward()
    torch.testing.assert_close(p.grad, torch.tensor([[-1.0, 0, 1, 2], [0, 0, 0, 0]]).view(2, 1, 1, 4) / 4)


def test_normalized_is_in_minus_one_to_one_and_minds_no_unit(soft_batch):
    logits, target = soft_batch((2, 1, 9, 8), 1)
    values = [BoundaryLoss(spacing_mm=(s, 2 * s), normalize=True, sigmoid=True)(logits, target) for s in (0.5, 4.0)]
    torch.testing.assert_close(*values)
    assert BoundaryLoss(normalize=True)(torch.ones_like(target), target).abs() <= 1
    assert float(BoundaryLoss(normalize=True)(target, torch.zeros_like(target))) == 0
