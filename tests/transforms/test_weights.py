from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.data import MetaTensor
from scipy import ndimage

from monai_instance_loss.transforms import InstanceWeightMap, LabelInstances

# instances of 2 and 1 voxels in 9
MASK = np.array([[[1, 1, 0, 1, 0, 0, 0, 0, 0]]])


@pytest.mark.parametrize(
    ("background_weight", "expected"),
    [
        # V = 3, K = 2: 1.5 each, so 1.5 / 2 and 1.5 / 1
        (1.0, [0.75, 0.75, 1, 1.5, 1, 1, 1, 1, 1]),
        (0, [0.75, 0.75, 0, 1.5, 0, 0, 0, 0, 0]),
        (0.2, [0.75, 0.75, 0.2, 1.5, 0.2, 0.2, 0.2, 0.2, 0.2]),
        # W = 9, K + 1 = 3: 3 each, so 3 / 2, 3 / 1, and 3 / 6 of background
        (None, [1.5, 1.5, 0.5, 3, 0.5, 0.5, 0.5, 0.5, 0.5]),
    ],
)
def test_by_hand(background_weight, expected):
    out = InstanceWeightMap(background_weight)(MASK)
    np.testing.assert_allclose(out, [[expected]], rtol=1e-7)


def test_ignored_voxels_weigh_nothing_and_are_not_counted():
    instance_map = np.array([[[4, 4, 0, 9, 0, -1, -1]]])
    # V = 3, K = 2
    assert InstanceWeightMap(is_instances=True)(instance_map).tolist() == [[[0.75, 0.75, 1, 1.5, 1, 0, 0]]]
    # W = 5 without the ignored, 5 / 3 each
    third = np.float32(5 / 3)
    np.testing.assert_allclose(
        InstanceWeightMap(None, is_instances=True)(instance_map)[0, 0],
        [third / 2, third / 2, third / 2, third, third / 2, 0, 0],
        rtol=1e-6,
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, float | None]:
    dims = draw(st.integers(2, 3))
    shape = draw(st.tuples(st.integers(1, 3), *[st.integers(1, 6)] * dims))
    mask = draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 1), fill=st.nothing()))
    return mask, draw(st.sampled_from([None, 0.0, 1.0, 3.0]))


@settings(max_examples=60, deadline=None)
@given(cases())
def test_every_instance_has_the_same_total(case):
    mask, background_weight = case
    out = InstanceWeightMap(background_weight)(mask)
    for channel, weights in zip(mask, out, strict=True):
        labels, count = ndimage.label(channel, np.ones((3,) * channel.ndim))
        totals = [weights[labels == i].sum() for i in range(1, count + 1)]
        foreground, background = weights[labels > 0], weights[labels == 0]
        if background_weight is None:
            totals += [background.sum()] if background.size else []
            np.testing.assert_allclose(totals, weights.size / len(totals), rtol=1e-5)
        else:
            np.testing.assert_allclose(totals, foreground.size / max(count, 1), rtol=1e-5)
            np.testing.assert_allclose(background, background_weight)
        # equal within an instance
        for i in range(1, count + 1):
            assert len(set(weights[labels == i].tolist())) == 1


@pytest.mark.parametrize("background_weight", [None, 0.5])
@pytest.mark.parametrize("axes", [(1,), (1, 2, 3)])
def test_flips_channels_and_ids_do_not_matter(speckle, background_weight, axes):
    transform = InstanceWeightMap(background_weight)
    expected = transform(speckle)
    np.testing.assert_array_equal(transform(np.flip(speckle, axes)), np.flip(expected, axes))
    np.testing.assert_array_equal(np.concatenate([transform(channel[None]) for channel in speckle]), expected)
    instance_map = LabelInstances()(speckle)
    permuted = np.where(instance_map > 0, 1000 - 3 * instance_map, 0)
    np.testing.assert_array_equal(InstanceWeightMap(background_weight, is_instances=True)(permuted), expected)


def test_connectivity():
    mask = np.array([[[1, 0, 1], [0, 1, 1]]])
    # faces only: 1 voxel and 3, V / K = 2
    assert InstanceWeightMap(connectivity=1)(mask).tolist() == [
        [[2, 1, np.float32(2 / 3)], [1, *[np.float32(2 / 3)] * 2]]
    ]
    assert InstanceWeightMap()(mask).tolist() == np.ones((1, 2, 3)).tolist()


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float64])
def test_result_is_float32_in_the_form_of_the_input(dtype):
    out = InstanceWeightMap()(MASK.astype(dtype))
    assert type(out) is np.ndarray
    assert out.dtype == np.float32
    tensor = InstanceWeightMap()(torch.from_numpy(MASK.astype(dtype)))
    assert tensor.dtype == torch.float32
    np.testing.assert_array_equal(tensor, out)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 1, 1), (2, 3, 3), (0, 3, 3), (1, 0, 3)])
@pytest.mark.parametrize("value", [0, 1])
def test_all_background_and_all_foreground(shape, value):
    mask = np.full(shape, value)
    # one component: the mean of 1 is every voxel's weight
    np.testing.assert_array_equal(InstanceWeightMap(None)(mask), np.ones(shape))
    np.testing.assert_array_equal(InstanceWeightMap(0.25)(mask), np.full(shape, 1.0 if value else 0.25))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"background_weight": -0.5}, ValueError, "Expected `background_weight` .* 0 or more, but got -0.5"),
        ({"background_weight": math.inf}, ValueError, "Expected `background_weight` to be finite .* but got inf"),
        ({"background_weight": "1"}, TypeError, "Expected `background_weight` to be a number, but got '1'"),
        ({"connectivity": 1, "is_instances": True}, ValueError, "Expected `connectivity` to be None .* but got 1"),
        ({"mode": "edge"}, ValueError, "Expected `mode` to be 'inverse' or 'border', but got 'edge'"),
        ({"w0": 3}, ValueError, "Expected `w0` to be None for mode 'inverse', but got 3"),
        ({"sigma_mm": 2.0}, ValueError, "Expected `sigma_mm` to be None for mode 'inverse', but got 2.0"),
        ({"spacing_mm": (1, 1)}, ValueError, r"Expected `spacing_mm` to be None .* but got \(1, 1\)"),
        ({"mode": "border", "w0": -1}, ValueError, "Expected `w0` to be finite and 0 or more, but got -1"),
        ({"mode": "border", "sigma_mm": 0}, ValueError, "Expected `sigma_mm` to be finite and above 0, but got 0"),
    ],
)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        InstanceWeightMap(**options)


def _naive_border(mask: np.ndarray, w0: float, sigma_mm: float, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """The formula, voxel by voxel and instance by instance."""
    out = np.zeros(mask.shape)
    for c, channel in enumerate(mask):
        labels, count = ndimage.label(channel, np.ones((3,) * channel.ndim))
        for index in np.ndindex(channel.shape):
            distances = sorted(
                min(math.dist(np.multiply(index, spacing_mm), np.multiply(v, spacing_mm)) for v in voxels)
                for voxels in (np.argwhere(labels == i) for i in range(1, count + 1))
            )
            if count >= 2:
                out[c][index] = w0 * math.exp(-((distances[0] + distances[1]) ** 2) / (2 * sigma_mm**2))
    return out


@pytest.mark.parametrize(
    ("shape", "spacing_mm"), [((2, 7, 6), (1.0, 2.5)), ((1, 5, 6, 4), (1.0, 0.9, 3.0)), ((3, 1, 20), (1.0, 1.0))]
)
@pytest.mark.parametrize(("w0", "sigma_mm"), [(10.0, 5.0), (3.0, 0.7)])
@pytest.mark.parametrize("background_weight", [1.0, None])
def test_border_term_agrees_with_a_naive_loop(shape, spacing_mm, w0, sigma_mm, background_weight):
    mask = (np.random.default_rng(0).random(shape) < 0.12).astype(np.uint8)
    assert label_count(mask) >= 2
    transform = InstanceWeightMap(background_weight, mode="border", w0=w0, sigma_mm=sigma_mm, spacing_mm=spacing_mm)
    expected = InstanceWeightMap(background_weight)(mask) + _naive_border(mask, w0, sigma_mm, spacing_mm)
    np.testing.assert_allclose(transform(mask), expected, rtol=1e-6, atol=1e-6)


def label_count(mask: np.ndarray) -> int:
    return ndimage.label(mask[0])[1]


def test_border_term_by_hand():
    # w0 exp(-(d1 + d2)^2 / (2 sigma^2)), voxels of 2 mm: 0 + 6, 2 + 4, 4 + 2, 6 + 0 and 8 + 2 mm
    out = InstanceWeightMap(0, mode="border", w0=8, sigma_mm=6, spacing_mm=(1, 2))(np.array([[[1, 0, 0, 1, 0]]]))
    near, far = 8 * math.exp(-36 / 72), 8 * math.exp(-100 / 72)
    # both instances have the inverse weight 1
    np.testing.assert_allclose(out, [[[1 + near, near, near, 1 + near, far]]], rtol=1e-6)


@pytest.mark.parametrize("mask", [np.zeros((1, 4, 4)), np.pad(np.ones((1, 2, 2)), ((0, 0), (1, 1), (1, 1)))])
def test_fewer_than_two_instances_have_no_border_between_them(mask):
    out = InstanceWeightMap(mode="border", spacing_mm=(1, 1))(mask)
    np.testing.assert_array_equal(out, InstanceWeightMap()(mask))


def test_border_term_reads_the_voxel_size_of_a_metatensor_and_needs_one():
    mask = np.array([[[[1], [0], [0], [1]]]])
    affine = torch.tensor([[0.0, -2, 0, 5], [1, 0, 0, -7], [0, 0, 3, 2], [0, 0, 0, 1]])
    transform = InstanceWeightMap(mode="border")
    expected = InstanceWeightMap(mode="border", spacing_mm=(1, 2, 3))(mask)
    np.testing.assert_array_equal(transform(MetaTensor(torch.from_numpy(mask), affine=affine)), expected)
    with pytest.raises(ValueError, match="Expected `spacing_mm` or a MetaTensor"):
        transform(mask)


def test_border_term_leaves_ignored_voxels_out():
    instance_map = np.array([[[4, -1, 9, 0]]])
    out = InstanceWeightMap(mode="border", spacing_mm=(1, 1), is_instances=True)(instance_map)
    assert out[0, 0, 1] == 0
    # nearest at 0 and 2 mm, the defaults of the paper: 10 exp(-4 / 50)
    np.testing.assert_allclose(out[0, 0, 0], 1 + 10 * math.exp(-4 / 50), rtol=1e-6)


def test_bad_masks_are_refused():
    with pytest.raises(ValueError, match=r"Expected `mask` .* but got shape \(3,\)"):
        InstanceWeightMap()(np.zeros(3))
    with pytest.raises(ValueError, match="Expected `mask` to be finite, but got NaN"):
        InstanceWeightMap()(torch.tensor([[[torch.nan]]]))
