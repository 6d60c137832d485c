from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from monai_instance_loss.metrics.spacing import sample_spacing

PLAIN = torch.zeros(2, 1, 3, 3, 3)
# 90 degrees about the last axis: the first voxel axis runs along y with steps of 2 mm, the second along -x with 3
TURNED = torch.tensor([[0.0, -3, 0, 5], [2, 0, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]])


def with_affine(affine: torch.Tensor, shape: tuple[int, ...] = (2, 1, 3, 3, 3)) -> MetaTensor:
    return MetaTensor(torch.zeros(shape), affine=affine)


def test_the_argument_comes_before_the_affine():
    y = with_affine(TURNED)
    assert sample_spacing((1, 2, 3), y, y, "volume_edges_mm3").tolist() == [[1, 2, 3]] * 2


def test_the_affine_of_y_comes_before_that_of_y_pred():
    other = with_affine(torch.diag(torch.tensor([9.0, 9, 9, 1])))
    assert sample_spacing(None, other, with_affine(TURNED), "volume_edges_mm3").tolist() == [[2, 3, 4]] * 2
    assert sample_spacing(None, other, PLAIN, "volume_edges_mm3").tolist() == [[9, 9, 9]] * 2


def test_a_collated_batch_has_an_affine_for_each_sample():
    y = with_affine(torch.stack([TURNED, torch.eye(4)]))
    y.is_batch = True
    assert sample_spacing(None, y, y, "volume_edges_mm3").tolist() == [[2, 3, 4], [1, 1, 1]]


def test_an_image_uses_the_first_axes_of_a_volume_affine():
    y = with_affine(TURNED, (1, 1, 3, 3))
    assert sample_spacing(None, y, y, "volume_edges_mm3").tolist() == [[2, 3]]


def test_a_batch_of_none_has_no_rows():
    assert tuple(sample_spacing((1, 2, 3), PLAIN[:0], PLAIN[:0], "volume_edges_mm3").shape) == (0, 3)


@pytest.mark.parametrize("needed_by", ["volume_edges_mm3", "dilation_mm"])
def test_nothing_is_guessed(needed_by):
    with pytest.raises(ValueError, match=f"Expected `spacing_mm` to be given for `{needed_by}`, or `y` .* got neither"):
        sample_spacing(None, PLAIN, PLAIN, needed_by)


@pytest.mark.parametrize(
    ("spacing_mm", "y", "message"),
    [
        ((1, 1), PLAIN, r"Expected `spacing_mm` to have one value for each of 3 spatial axes, but got \(1, 1\)"),
        ((1, 1, 0), PLAIN, r"Expected `spacing_mm` to be 2 or 3 positive finite numbers, but got \(1, 1, 0\)"),
        (None, with_affine(torch.diag(torch.tensor([0.0, 1, 1, 1]))), r"positive finite numbers, but got \[0.0, 1.0"),
        (None, with_affine(torch.eye(3)), r"Expected the affine of `y` to have 3 spatial axes, but got shape \(3, 3\)"),
    ],
)
def test_bad_spacings_are_refused(spacing_mm, y, message):
    with pytest.raises(ValueError, match=message):
        sample_spacing(spacing_mm, y, y, "volume_edges_mm3")
