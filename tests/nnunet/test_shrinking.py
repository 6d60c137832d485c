"""Targets of the levels: every voxel of foreground is still seen, and what wins where labels meet."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from monai_instance_loss.nnunet import shrink_target


def test_a_lesion_that_the_nearest_voxel_misses_is_kept():
    target = torch.zeros(1, 1, 8, 8, 8)
    target[0, 0, 2, 2, 2] = 1
    # what nnU-Net does: of two voxels it takes the second, (3, 3, 3) here
    assert F.interpolate(target, (4, 4, 4), mode="nearest-exact").sum() == 0
    half, quarter = shrink_target(target, [(4, 4, 4), (2, 2, 4)])
    assert half.nonzero().tolist() == [[0, 0, 1, 1, 1]]
    assert quarter.nonzero().tolist() == [[0, 0, 0, 0, 1]]


def naive(labels: np.ndarray, step: tuple[int, ...], ignore: int | None) -> np.ndarray:
    """The rule, cell by cell: any foreground, the rarest label; else any ignored voxel; else background."""
    shape = [size // by for size, by in zip(labels.shape[2:], step, strict=True)]
    out = np.zeros((*labels.shape[:2], *shape), labels.dtype)
    counts = {value: int((labels == value).sum()) for value in np.unique(labels)}
    for index in product(*map(range, out.shape)):
        cell = labels[index[0], index[1]][
            tuple(slice(at * by, (at + 1) * by) for at, by in zip(index[2:], step, strict=True))
        ]
        lesions = [value for value in np.unique(cell) if value not in (0, ignore)]
        if lesions:
            out[index] = min(lesions, key=lambda value: (counts[value], value))
        elif ignore is not None and (cell == ignore).any():
            out[index] = ignore
    return out


@pytest.mark.parametrize(("shape", "step"), [((8, 12), (2, 3)), ((4, 6, 8), (1, 2, 4))])
@pytest.mark.parametrize("ignore", [None, 4])
@pytest.mark.parametrize("dtype", [torch.int16, torch.uint8, torch.float32])
def test_labels_against_a_loop(shape, step, ignore, dtype):
    generator = np.random.default_rng(0)
    values, odds = ([0, 1, 2, 3], [0.8, 0.1, 0.05, 0.05]) if ignore is None else ([0, 1, 3, 4], [0.7, 0.1, 0.1, 0.1])
    labels = generator.choice(values, size=(2, 1, *shape), p=odds)
    size = [part // by for part, by in zip(shape, step, strict=True)]
    full, shrunk = shrink_target(torch.as_tensor(labels).to(dtype), [shape, size], ignore)
    assert full.dtype == shrunk.dtype == dtype
    assert torch.equal(full, torch.as_tensor(labels).to(dtype))
    np.testing.assert_array_equal(shrunk.numpy().astype(int), naive(labels, step, ignore))


def test_channels_shrink_alone_and_an_ignored_voxel_hides_no_lesion_of_another_channel():
    # two regions over four voxels: region 0 in the first one; the second and the last one ignored
    target = torch.tensor([[[[1.0, -1.0, 0.0, -1.0]], [[0.0, -1.0, 0.0, -1.0]]]])
    (shrunk,) = shrink_target(target, [(1, 2)], ignore_index=-1)
    assert shrunk.tolist() == [[[[1.0, -1.0]], [[0.0, -1.0]]]]


@pytest.mark.parametrize("value", [0, 3])
def test_a_target_of_one_value_keeps_it(value):
    (shrunk,) = shrink_target(torch.full((1, 1, 4, 4), value, dtype=torch.uint8), [(2, 2)], ignore_index=3)
    assert shrunk.tolist() == [[[[value] * 2] * 2]]


def test_sizes_that_do_not_divide_miss_no_voxel():
    for place in range(7):
        target = torch.zeros(1, 1, 7, 5)
        target[0, 0, place, 2] = 1
        (shrunk,) = shrink_target(target, [(3, 2)])
        assert shrunk.sum() >= 1


def test_bad_input():
    target = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match=r"Expected `sizes` to be of 2 axes, none above \(4, 4\), but got \(8, 4\)"):
        shrink_target(target, [(4, 4), (8, 4)])
    with pytest.raises(ValueError, match="Expected `target` to hold labels, -1 or more, but got -2"):
        shrink_target(target - 2, [(2, 2)])
