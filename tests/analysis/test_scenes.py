"""The volumes of an audit: what they hold, and that nothing but the setting differs between them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage

from monai_instance_loss.analysis.scenes import SITUATIONS, Layout


def components(mask: torch.Tensor) -> list[int]:
    """Sizes of the components of a volume by full connectivity, sorted."""
    labels, count = ndimage.label(mask[0, 0].numpy(), np.ones([3] * (mask.ndim - 2)))
    return sorted(np.bincount(labels.ravel(), minlength=count + 1)[1:].tolist())


@pytest.mark.parametrize("shape", [(40, 30), (18, 20, 22)])
@pytest.mark.parametrize("size", [1, 2, 9, 100])
def test_lesions_have_their_sizes_and_lie_apart(shape, size):
    layout = Layout(shape, largest=100, other_size_voxels=8, other_lesions=5)
    missed = layout.scene("missed", size, 5, 0.01, 0.9)
    assert components(missed.target > 0) == sorted([size, *[8] * 5])
    assert components(missed.input > 0) == [8] * 5
    assert components(missed.component) == [size]
    false = layout.scene("false", size, 5, 0.01, 0.9)
    assert components(false.input > 0) == components(missed.target > 0)
    assert components(false.target > 0) == [8] * 5
    half = layout.scene("half_found", size, 5, 0.01, 0.9)
    assert components(half.input > 0) == sorted([*[size // 2] * (size > 1), *[8] * 5])
    assert torch.equal(half.target, missed.target)
    assert not ((half.input > 0) & (half.target == 0)).any()


def test_probabilities_are_those_asked_for():
    layout = Layout((20, 20), largest=10, other_size_voxels=4, other_lesions=2)
    for situation in SITUATIONS:
        found = layout.scene(situation, 10, 2, 0.03, 0.8).input.sigmoid().unique()
        torch.testing.assert_close(found, torch.tensor([0.03, 0.8], dtype=torch.float64))


def test_scenes_differ_in_one_thing_alone():
    layout = Layout((18, 20, 22), largest=100, other_size_voxels=8, other_lesions=5)
    scenes = {
        (size, others): layout.scene("missed", size, others, 0.01, 0.9)
        for size, others in itertools.product((1, 9, 100), (0, 1, 5))
    }
    for size, others in scenes:
        # other lesions stay where they are when the component grows, and the first ones when more are added
        assert torch.equal(scenes[size, others].input, scenes[1, others].input)
        assert (scenes[size, 5].input >= scenes[size, others].input).all()
        assert (scenes[100, others].component >= scenes[size, others].component).all()


@pytest.mark.parametrize(
    ("shape", "largest", "size", "others"),
    [((8, 8, 8), 513, 1, 0), ((8, 8, 8), 300, 1, 0), ((12, 12), 9, 4, 30), ((12, 12), 9, 200, 1), ((1, 1), 2, 1, 0)],
)
def test_what_has_no_room_is_refused(shape, largest, size, others):
    with pytest.raises(ValueError, match=rf"`spatial_size` to have room .* of {largest} voxels .* got \({shape[0]}, "):
        Layout(shape, largest, size, others)


def test_a_volume_of_one_voxel_has_room_for_one():
    assert components(Layout((1, 1), 1, 1, 0).scene("missed", 1, 0, 0.01, 0.9).target) == [1]


@pytest.mark.parametrize(("shape", "largest", "size"), [((13, 14), 9, 4), ((15, 15), 21, 1), ((12, 13, 14), 33, 8)])
def test_a_crowded_volume_keeps_them_apart(shape, largest, size):
    layout = None
    for others in itertools.count():
        try:
            layout = Layout(shape, largest, size, others)
        except ValueError:
            break
    fitting = others - 1
    assert fitting > 4
    target = layout.scene("missed", largest, fitting, 0.01, 0.9).target
    assert components(target > 0) == sorted([largest, *[size] * fitting])
