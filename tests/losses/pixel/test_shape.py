from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy

from monai_instance_loss.losses.pixel import ShapeAwareLoss


def contour(mask: np.ndarray) -> list[tuple[int, ...]]:
    """Voxels of a mask with a face neighbour, inside the volume, that is not in it."""
    voxels = []
    for index in map(tuple, np.argwhere(mask)):
        for axis in range(mask.ndim):
            for step in (-1, 1):
                there = list(index)
                there[axis] += step
                if 0 <= there[axis] < mask.shape[axis] and not mask[tuple(there)] and index not in voxels:
                    voxels.append(index)
    return voxels


def test_by_hand():
    # row of six, 2 mm apart; target 0-1, contour at 1; prediction 0-3, contour at 3: E = 4 mm; voxels 2 and 3 wrong.
    # p = 0.8 on the prediction, 0.4 off it
    target = torch.tensor([[[[1.0, 1, 0, 0, 0, 0]]]])
    p = torch.tensor([[[[0.8, 0.8, 0.8, 0.8, 0.4, 0.4]]]])
    expected = -(2 * log(0.8) + 2 * 5 * log(0.2) + 2 * log(0.6)) / 6
    assert float(ShapeAwareLoss(spacing_mm=(1, 2))(p, target)) == pytest.approx(expected)


@pytest.mark.parametrize(("shape", "spacing"), [((2, 2, 9, 8), (1.0, 1.5)), ((1, 1, 5, 6, 4), (2.0, 1.0, 1.0))])
def test_against_loops(soft_batch, shape, spacing):
    logits, target = soft_batch(shape, 0, foreground=0.35)
    value = ShapeAwareLoss(spacing_mm=spacing, sigmoid=True, reduction="none")(logits, target)
    for b in range(shape[0]):
        for c in range(shape[1]):
            p, y = logits[b, c].sigmoid(), target[b, c]
            predicted, true = (p >= 0.5).numpy(), y.numpy() > 0
            to = np.array(contour(true)) * spacing
            nearest = [np.linalg.norm(np.array(voxel) * spacing - to, axis=1).min() for voxel in contour(predicted)]
            weight = 1 + np.mean(nearest) * (predicted != true)
            expected = (weight * binary_cross_entropy(p, y, reduction="none").numpy()).mean()
            assert float(value[b, c]) == pytest.approx(expected)


@pytest.mark.parametrize(("p", "y"), [(0.0, 0.5), (0.5, 0.0), (1.0, 0.5), (0.5, 1.0)])
def test_without_a_contour_it_is_plain_cross_entropy(p, y):
    half = torch.zeros(1, 1, 4, 4)
    half[..., :2] = 1
    p, y = (half if value == 0.5 else torch.full_like(half, value) for value in (p, y))
    p = p * 0.8 + 0.1
    assert float(ShapeAwareLoss()(p, y)) == pytest.approx(float(binary_cross_entropy(p, y)))


def test_costs_more_the_farther_the_contour_is():
    target = torch.zeros(1, 1, 16, 16)
    target[..., 2:5, 2:5] = 1
    values = [float(ShapeAwareLoss()(target.roll(shift, -1) * 0.8 + 0.1, target)) for shift in (0, 1, 4, 8)]
    assert values == sorted(values)
    assert len(set(values)) == 4
