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

from monai_instance_loss.losses import InstanceLoss
from monai_instance_loss.transforms import InstanceCenters, LabelInstances, centers


def test_box_by_hand():
    # the centre of columns 2 and 3 is 2.5, rounded up to 3; the half-widths are ceil(1 * 5 / 7) = 1 and 1;
    # rows 1 - 1 - 1 = -1, clipped to 0, up to 1 + 1 = 2 excluded; columns 3 - 1 - 1 = 1 up to 3 + 1 = 4 excluded
    mask = np.zeros((1, 5, 7))
    mask[0, 1, 2:4] = 1
    expected = np.zeros((1, 5, 7))
    expected[0, 0:2, 1:4] = 1
    np.testing.assert_array_equal(InstanceCenters("box", radius=1)(mask), expected)


def test_radius_is_three_along_the_longest_axis_by_default():
    # half-widths 3 along the axis of 12 and ceil(3 * 4 / 12) = 1 along that of 4: centre 6 gives columns 2 to 8
    mask = np.zeros((1, 4, 12))
    mask[0, 2, 6] = 1
    rows, columns = np.nonzero(InstanceCenters()(mask)[0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 2, 2, 8)


def test_box_is_the_true_map_of_the_center_loss(speckle):
    seen = []

    def record(input, target):
        seen.append(target)
        return (input * 0).sum()

    target = torch.from_numpy(speckle)[None].float()
    InstanceLoss(center_loss=record, center_radius=2).terms(target, target)
    ours = InstanceCenters("box", radius=2)(speckle)
    assert 0 < ours.mean() < 1
    assert len(seen) == 2
    for expected, channel in zip(seen, ours, strict=True):
        np.testing.assert_array_equal(expected.squeeze(), channel)


def test_gaussian_by_hand():
    # sigma 1: exp(-d^2 / 2) at d = 0, 1, 2, 3, 4 and 0 beyond
    mask = np.zeros((1, 1, 7))
    mask[0, 0, 0] = 1
    expected = [math.exp(-(d**2) / 2) for d in range(5)] + [0, 0]
    np.testing.assert_allclose(InstanceCenters("gaussian", sigma_voxels=1)(mask)[0, 0], expected, rtol=1e-6)


def test_gaussian_ends_at_four_sigma_in_every_direction():
    mask = np.zeros((1, 9, 9))
    mask[0, 4, 4] = 1
    heat = InstanceCenters("gaussian", sigma_voxels=1)(mask)[0]
    # (4, 0) is 4 away, (3, 3) is 4.24
    assert heat[8, 4] == pytest.approx(math.exp(-8))
    assert heat[7, 7] == 0
    assert heat[7, 6] == pytest.approx(math.exp(-13 / 2))


def test_gaussian_between_voxels_and_the_larger_of_two():
    # the centres are 0.5 and 4; column 2 is 1.5 and 2 away
    heat = InstanceCenters("gaussian", sigma_voxels=2.0)(np.array([[[1, 1, 0, 0, 1]]]))[0, 0]
    distances = [0.5, 0.5, 1.5, 1.0, 0.0]
    np.testing.assert_allclose(heat, [math.exp(-(d**2) / 8) for d in distances], rtol=1e-6)


def test_sigma_mm_is_round_in_the_world():
    # voxels of 1 x 2 mm: one row is 1 mm away, one column 2 mm
    mask = np.zeros((1, 9, 9))
    mask[0, 4, 4] = 1
    heat = InstanceCenters("gaussian", sigma_mm=2.0, spacing_mm=(1, 2))(mask)[0]
    assert heat[4, 5] == pytest.approx(math.exp(-1 / 2))
    assert heat[5, 4] == pytest.approx(math.exp(-1 / 8))
    assert heat[6, 4] == pytest.approx(heat[4, 5])
    affine = torch.tensor([[0.0, -2, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    from_affine = InstanceCenters("gaussian", sigma_mm=2.0)(MetaTensor(mask, affine=affine))
    np.testing.assert_array_equal(from_affine[0], heat)


def _naive(mask: np.ndarray, paint) -> np.ndarray:
    """Every instance on a dense grid of its own."""
    out = np.zeros(mask.shape)
    for channel, picture in zip(mask, out, strict=True):
        labels, count = ndimage.label(channel, np.ones((3,) * channel.ndim))
        grid = np.indices(channel.shape)
        for i in range(1, count + 1):
            center = np.argwhere(labels == i).mean(0)
            np.maximum(picture, paint(grid, center), out=picture)
    return out


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    dims = draw(st.integers(2, 3))
    shape = draw(st.tuples(st.integers(1, 2), *[st.integers(1, 7)] * dims))
    return draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 1])))


@settings(max_examples=40, deadline=None)
@given(masks(), st.integers(0, 4))
def test_boxes_agree_with_a_dense_loop(mask, radius):
    def paint(grid, center):
        shape = np.array(grid.shape[1:])
        half = np.ceil(radius * shape / shape.max())
        center = np.ceil(np.round(center, 9))
        column = (slice(None),) + (None,) * len(shape)
        return ((grid >= (center - half - 1)[column]) & (grid < (center + half)[column])).all(0)

    np.testing.assert_array_equal(InstanceCenters("box", radius=radius)(mask), _naive(mask, paint))


@settings(max_examples=40, deadline=None)
@given(masks(), st.sampled_from([0.1, 0.7, 1.0, 3.0]))
def test_gaussians_agree_with_a_dense_loop(mask, sigma):
    spacing = (1.0, 2.5, 0.5)[: mask.ndim - 1]

    def paint(grid, center):
        column = (slice(None),) + (None,) * len(center)
        squared = (((grid - center[column]) * np.array(spacing)[column]) ** 2).sum(0) / sigma**2
        return np.where(squared <= 16, np.exp(-squared / 2), 0)

    ours = InstanceCenters("gaussian", sigma_mm=sigma, spacing_mm=spacing)(mask)
    # which side of 4 sigma a voxel lies on may hang on the last bit: exp(-8) = 3.355e-4
    cut = [np.where(heat < 3.36e-4, 0, heat) for heat in (ours, _naive(mask, paint))]
    np.testing.assert_allclose(*cut, atol=1e-6)


@pytest.mark.parametrize("chunk", [1, 1500])
@pytest.mark.parametrize("options", [{"mode": "box", "radius": 2}, {"mode": "gaussian", "sigma_voxels": 1.0}])
def test_pieces_do_not_matter(speckle, options, chunk, monkeypatch):
    whole = InstanceCenters(**options)(speckle)
    # one window at a time, and a few
    monkeypatch.setattr(centers, "_CHUNK", chunk)
    np.testing.assert_array_equal(InstanceCenters(**options)(speckle), whole)


@pytest.mark.parametrize("axes", [(1,), (1, 2, 3)])
def test_gaussians_follow_flips(speckle, axes):
    # boxes do not: their centre is rounded up
    transform = InstanceCenters("gaussian", sigma_voxels=1.5)
    np.testing.assert_allclose(transform(np.flip(speckle, axes)), np.flip(transform(speckle), axes), atol=1e-6)


def test_channels_and_samples_do_not_matter(speckle):
    for transform in (InstanceCenters(radius=1), InstanceCenters("gaussian", sigma_voxels=1.0)):
        parts = [transform(channel[None]) for channel in speckle]
        np.testing.assert_array_equal(transform(speckle), np.concatenate(parts))


def test_map_and_mask_agree(speckle):
    instance_map = LabelInstances()(speckle)
    permuted = np.where(instance_map > 0, 1000 - 3 * instance_map, 0)
    for options in ({"mode": "box"}, {"mode": "gaussian", "sigma_voxels": 1.0}):
        expected = InstanceCenters(**options)(speckle)
        np.testing.assert_array_equal(InstanceCenters(**options, is_instances=True)(permuted), expected)


def test_connectivity_and_ignored_voxels():
    diagonal = np.array([[[1, 0, 0, 0], [0, 1, 0, 0]]])
    # apart, both centres fall on voxels; together, on none
    assert (InstanceCenters("gaussian", sigma_voxels=1, connectivity=1)(diagonal) == 1).sum() == 2
    assert (InstanceCenters("gaussian", sigma_voxels=1)(diagonal) == 1).sum() == 0
    instance_map = np.array([[[-1, -1, 0]]])
    assert InstanceCenters(is_instances=True)(instance_map).sum() == 0


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float64])
def test_result_is_float32_in_the_form_of_the_input(dtype):
    mask = np.array([[[0, 1, 0]]], dtype=dtype)
    for options in ({"mode": "box"}, {"mode": "gaussian", "sigma_voxels": 1.0}):
        out = InstanceCenters(**options)(mask)
        assert type(out) is np.ndarray
        assert out.dtype == np.float32
        tensor = InstanceCenters(**options)(torch.from_numpy(mask))
        assert tensor.dtype == torch.float32
        np.testing.assert_array_equal(tensor, out)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 1, 1), (2, 3, 3), (0, 3, 3), (1, 0, 3), (1, 0, 0)])
@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("options", [{"mode": "box"}, {"mode": "gaussian", "sigma_voxels": 1.0}])
def test_degenerate_masks(shape, value, options):
    out = InstanceCenters(**options)(np.full(shape, value))
    assert out.shape == shape
    assert np.all(out == 0) if value == 0 else np.all(out > 0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mode": "cross"}, ValueError, "Expected `mode` to be 'box' or 'gaussian', but got 'cross'"),
        ({"radius": -1}, ValueError, "Expected `radius` to be 0 or more, but got -1"),
        ({"radius": 1.0}, TypeError, r"Expected `radius` to be an integer, but got 1\.0"),
        ({"sigma_voxels": 1.0}, ValueError, "Expected `sigma_voxels` to be None for mode 'box', but got 1.0"),
        ({"spacing_mm": (1, 1)}, ValueError, "Expected `spacing_mm` to be None without `sigma_mm`"),
        ({"mode": "gaussian"}, ValueError, "Expected one of `sigma_voxels` and `sigma_mm` .* but got None and None"),
        ({"mode": "gaussian", "sigma_voxels": 1, "sigma_mm": 2}, ValueError, "Expected one of .* but got 1 and 2"),
        ({"mode": "gaussian", "sigma_voxels": 0}, ValueError, "Expected `sigma_voxels` .* above 0, but got 0"),
        ({"mode": "gaussian", "sigma_mm": math.nan}, ValueError, "Expected `sigma_mm` to be finite .* but got nan"),
        ({"mode": "gaussian", "sigma_mm": "2"}, TypeError, "Expected `sigma_mm` to be a number, but got '2'"),
        (
            {"mode": "gaussian", "sigma_mm": 2, "radius": 3},
            ValueError,
            "Expected `radius` to be None for mode 'gaussian', but got 3",
        ),
        ({"connectivity": 1, "is_instances": True}, ValueError, "Expected `connectivity` to be None .* but got 1"),
    ],
)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        InstanceCenters(**options)


def test_bad_masks_are_refused():
    with pytest.raises(ValueError, match=r"Expected `mask` .* but got shape \(3,\)"):
        InstanceCenters()(np.zeros(3))
    with pytest.raises(ValueError, match="Expected `spacing_mm` or a MetaTensor"):
        InstanceCenters("gaussian", sigma_mm=1.0)(np.zeros((1, 3, 3)))
