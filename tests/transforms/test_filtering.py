from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.data import MetaTensor
from scipy import ndimage

from monai_instance_loss.transforms import FilterInstances, LabelInstances

# instances of 3, 1 and 2 voxels, none of them in the first or last row; the one of 2 ends in the last column
MASK = np.array(
    [[[0, 0, 0, 0, 0, 0, 0, 0], [0, 5, 5, 5, 0, 7, 0, 0], [0, 0, 0, 0, 0, 0, 0, 9], [0, 0, 0, 0, 0, 0, 0, 9]]]
)
MASK = np.concatenate([MASK, np.zeros((1, 1, 8), MASK.dtype)], axis=1)
OF_3, OF_1, OF_2 = MASK == 5, MASK == 7, MASK == 9


@pytest.mark.parametrize(
    ("options", "stays"),
    [
        ({}, OF_3 | OF_1 | OF_2),
        ({"min_voxels": 2}, OF_3 | OF_2),
        ({"max_voxels": 2}, OF_1 | OF_2),
        ({"min_voxels": 2, "max_voxels": 2}, OF_2),
        ({"min_voxels": 4}, OF_3 & OF_1),
        ({"remove_border": True}, OF_3 | OF_1),
        ({"keep_largest": 1}, OF_3),
        ({"keep_largest": 2}, OF_3 | OF_2),
        ({"keep_largest": 9}, OF_3 | OF_1 | OF_2),
        # the largest is gone before the others are ranked
        ({"max_voxels": 2, "keep_largest": 1}, OF_2),
        # a voxel is 2 x 1.5 = 3 mm2: the instances have 9, 3 and 6
        ({"min_volume_mm3": 6, "spacing_mm": (2, 1.5)}, OF_3 | OF_2),
        ({"max_volume_mm3": 6, "spacing_mm": (2, 1.5)}, OF_1 | OF_2),
        ({"min_volume_mm3": 6.001, "max_volume_mm3": 8.999, "spacing_mm": (2, 1.5)}, OF_3 & OF_1),
    ],
)
def test_by_hand(options, stays):
    np.testing.assert_array_equal(FilterInstances(connectivity=1, **options)(MASK), np.where(stays, MASK, 0))


def test_full_connectivity_by_default():
    # the diagonal neighbours 1 and 2 are one instance of 2 voxels
    mask = np.array([[[1, 0, 0], [0, 2, 0]]])
    assert FilterInstances(min_voxels=2)(mask).tolist() == mask.tolist()
    assert FilterInstances(min_voxels=2, connectivity=1)(mask).sum() == 0


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, int, int, int, bool]:
    dims = draw(st.integers(2, 3))
    shape = draw(st.tuples(st.integers(1, 2), *[st.integers(1, 6)] * dims))
    mask = draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 1), fill=st.nothing()))
    low = draw(st.integers(0, 4))
    return mask, low, low + draw(st.integers(0, 8)), draw(st.integers(1, 3)), draw(st.booleans())


@settings(max_examples=60, deadline=None)
@given(cases())
def test_agrees_with_a_loop_over_scipy_labels(case):
    mask, low, high, k, border = case
    expected = np.zeros_like(mask)
    for channel, out in zip(mask, expected, strict=True):
        labels, count = ndimage.label(channel, np.ones((3,) * channel.ndim))
        inner = np.zeros(channel.shape, bool)
        inner[(slice(1, -1),) * channel.ndim] = True
        passing = []
        for i in range(1, count + 1):
            one = labels == i
            if low <= one.sum() <= high and not (border and (one & ~inner).any()):
                passing.append((-one.sum(), i))
        for _, i in sorted(passing)[:k]:
            out[labels == i] = 1
    transform = FilterInstances(min_voxels=low, max_voxels=high, keep_largest=k, remove_border=border)
    np.testing.assert_array_equal(transform(mask), expected)


def test_the_first_of_equally_large_instances_stays():
    assert FilterInstances(keep_largest=2)(np.array([[[3, 0, 4, 0, 5]]])).tolist() == [[[3, 0, 4, 0, 0]]]


def test_channels_are_ranked_by_themselves():
    mask = np.array([[[1, 1, 1, 0, 1, 1]], [[1, 0, 0, 0, 0, 0]]])
    assert FilterInstances(keep_largest=1)(mask).tolist() == [[[1, 1, 1, 0, 0, 0]], [[1, 0, 0, 0, 0, 0]]]


def test_a_map_is_read_by_its_ids():
    # 7 is in two pieces, 3 voxels in all, and touches 4; ignored voxels stay, and do not join anything
    instance_map = np.array([[[7, 7, 4, -1, 7, 0]]], dtype=np.int32)
    out = FilterInstances(min_voxels=2, is_instances=True)(instance_map)
    assert out.tolist() == [[[7, 7, 0, -1, 7, 0]]]
    # as a mask, the first five voxels are one instance
    assert FilterInstances(min_voxels=5)(instance_map).tolist() == instance_map.tolist()


def test_map_and_mask_agree(speckle):
    kept = FilterInstances(min_voxels=3, keep_largest=4, remove_border=True)(speckle)
    of_map = FilterInstances(min_voxels=3, keep_largest=4, remove_border=True, is_instances=True)(
        LabelInstances()(speckle)
    )
    assert 0 < kept.sum() < speckle.sum()
    np.testing.assert_array_equal(of_map != 0, kept != 0)


@pytest.mark.parametrize("axes", [(1,), (2, 3), (1, 2, 3)])
def test_flips_do_not_matter(speckle, axes):
    transform = FilterInstances(min_voxels=3, max_voxels=20, remove_border=True)
    np.testing.assert_array_equal(transform(np.flip(speckle, axes)), np.flip(transform(speckle), axes))


def test_volume_comes_from_the_affine():
    # voxels of 1 x 1 x 3 mm turned by 90 degrees: 3 mm3 each
    affine = torch.tensor([[0.0, -1, 0, 5], [1, 0, 0, -7], [0, 0, 3, 2], [0, 0, 0, 1]])
    mask = MetaTensor(torch.tensor([[[[1], [1], [0], [1]]]]), affine=affine)
    assert FilterInstances(min_volume_mm3=6)(mask).flatten().tolist() == [1, 1, 0, 0]
    assert FilterInstances(min_volume_mm3=6.1)(mask).flatten().tolist() == [0, 0, 0, 0]
    # an explicit spacing wins: 12 mm3 each
    assert FilterInstances(min_volume_mm3=12, spacing_mm=(2, 2, 3))(mask).flatten().tolist() == [1, 1, 0, 1]


def test_volume_does_not_hang_on_float32_spacing():
    # a header's 0.9 mm is 0.89999998 in 32 bits, so that the voxel's 2.7 mm3 come out a little smaller
    affine = torch.diag(torch.tensor([0.9, 1, 3, 1], dtype=torch.float32))
    assert FilterInstances(min_volume_mm3=2.7)(MetaTensor(torch.ones(1, 1, 1, 1), affine=affine)).sum() == 1


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int64, np.float32])
def test_numpy_keeps_its_dtype(dtype):
    mask = MASK.astype(dtype)
    out = FilterInstances(min_voxels=2, connectivity=1)(mask)
    assert type(out) is np.ndarray
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, np.where(OF_1, np.zeros((), dtype), mask))
    np.testing.assert_array_equal(mask, MASK.astype(dtype))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32, torch.float16])
def test_tensor_keeps_its_dtype_and_is_not_changed(dtype):
    mask = torch.from_numpy(MASK).to(dtype)
    out = FilterInstances(keep_largest=1)(mask)
    assert out.dtype == dtype
    assert out.shape == mask.shape
    assert torch.equal(mask, torch.from_numpy(MASK).to(dtype))


def test_strides_do_not_matter(speckle):
    transform = FilterInstances(min_voxels=3)
    turned = torch.from_numpy(speckle).permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    assert not turned.is_contiguous()
    np.testing.assert_array_equal(transform(turned), transform(speckle))
    np.testing.assert_array_equal(transform(speckle[:, ::-1]), transform(speckle[:, ::-1].copy()))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 1, 1), (2, 3, 3), (0, 3, 3), (1, 0, 3)])
@pytest.mark.parametrize("value", [0, 1])
def test_degenerate_masks(shape, value):
    mask = np.full(shape, value)
    np.testing.assert_array_equal(FilterInstances(min_voxels=1, keep_largest=1)(mask), mask)
    np.testing.assert_array_equal(FilterInstances(remove_border=True)(mask), np.zeros(shape))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"min_voxels": 1.5}, TypeError, r"Expected `min_voxels` to be an integer, but got 1\.5"),
        ({"max_voxels": -1}, ValueError, "Expected `max_voxels` to be 0 or more, but got -1"),
        ({"min_voxels": 3, "max_voxels": 2}, ValueError, "Expected `min_voxels` .* `max_voxels`, but got 3 and 2"),
        ({"min_volume_mm3": "1"}, TypeError, "Expected `min_volume_mm3` to be a number, but got '1'"),
        ({"max_volume_mm3": float("inf")}, ValueError, "Expected `max_volume_mm3` to be finite .* but got inf"),
        ({"min_volume_mm3": 3.0, "max_volume_mm3": 2.0}, ValueError, "`min_volume_mm3` .* but got 3.0 and 2.0"),
        ({"keep_largest": 0}, ValueError, "Expected `keep_largest` to be 1 or more, but got 0"),
        ({"keep_largest": True}, TypeError, "Expected `keep_largest` to be an integer, but got True"),
        ({"spacing_mm": (1, 1)}, ValueError, r"Expected `spacing_mm` to be None without .* but got \(1, 1\)"),
        ({"connectivity": 1, "is_instances": True}, ValueError, "Expected `connectivity` to be None .* but got 1"),
    ],
)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        FilterInstances(**options)


@pytest.mark.parametrize(
    ("options", "mask", "error", "message"),
    [
        ({"min_volume_mm3": 1}, np.ones((1, 2, 2)), ValueError, "Expected `spacing_mm` or a MetaTensor.* ndarray"),
        ({"min_volume_mm3": 1}, torch.ones(1, 2, 2), ValueError, "Expected `spacing_mm` or a MetaTensor.* Tensor"),
        ({"min_volume_mm3": 1, "spacing_mm": (1, 1)}, np.ones((1, 2, 2, 2)), ValueError, "3 spatial axes"),
        ({"min_volume_mm3": 1, "spacing_mm": (1, -1)}, np.ones((1, 2, 2)), ValueError, "`spacing_mm` .* positive"),
        (
            {"min_volume_mm3": 1},
            MetaTensor(torch.ones(1, 2, 2, 2), affine=torch.zeros(4, 4)),
            ValueError,
            "Expected the affine of `mask` to give voxels a size",
        ),
        ({}, np.zeros((3, 3)), ValueError, r"Expected `mask` .* but got shape \(3, 3\)"),
        ({}, torch.tensor([[[torch.nan]]]), ValueError, "Expected `mask` to be finite"),
        ({}, [[[0, 1]]], TypeError, "Expected `mask` .* but got list"),
        ({"is_instances": True}, np.array([[[0.5]]]), ValueError, "whole numbers"),
        ({"connectivity": 3}, MASK, ValueError, "Expected `connectivity` .* but got 3"),
    ],
)
def test_bad_masks_are_refused(options, mask, error, message):
    with pytest.raises(error, match=message):
        FilterInstances(**options)(mask)
