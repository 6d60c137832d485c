from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy import ndimage

from monai_instance_loss.operating_points import OperatingPoint, apply_operating_point

# at 0.3 or more: instances of 2, 1 and 3 voxels, which reach 0.9, 0.5 and 0.4
P = np.array([[[0.9, 0.3, 0.2, 0.5, 0.0, 0.4, 0.3, 0.3]]])


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        (OperatingPoint(0.3), [1, 1, 0, 1, 0, 1, 1, 1]),
        (OperatingPoint(0.4), [1, 0, 0, 1, 0, 1, 0, 0]),
        (OperatingPoint(0.91), [0, 0, 0, 0, 0, 0, 0, 0]),
        # a voxel has 2 x 3 = 6 mm2
        (OperatingPoint(0.3, min_volume_mm3=12), [1, 1, 0, 0, 0, 1, 1, 1]),
        (OperatingPoint(0.3, min_volume_mm3=12.1), [0, 0, 0, 0, 0, 1, 1, 1]),
        (OperatingPoint(0.3, high_threshold=0.5), [1, 1, 0, 1, 0, 0, 0, 0]),
        (OperatingPoint(0.3, min_volume_mm3=12, high_threshold=0.4), [1, 1, 0, 0, 0, 1, 1, 1]),
        (OperatingPoint(0.3, min_volume_mm3=12, high_threshold=0.5), [1, 1, 0, 0, 0, 0, 0, 0]),
        (OperatingPoint(0.3, high_threshold=1), [0, 0, 0, 0, 0, 0, 0, 0]),
    ],
)
def test_by_hand(point, expected):
    assert apply_operating_point(P, point, spacing_mm=(2, 3)).tolist() == [[expected]]


def test_connectivity():
    p = np.array([[[0.9, 0.0], [0.0, 0.4]]])
    assert apply_operating_point(p, OperatingPoint(0.3, high_threshold=0.8)).sum() == 2
    assert apply_operating_point(p, OperatingPoint(0.3, high_threshold=0.8, connectivity=1)).sum() == 1
    with pytest.raises(ValueError, match=r"`connectivity` to be None or an integer in 1\.\.2"):
        apply_operating_point(p, OperatingPoint(0.3, connectivity=3))


def test_agrees_with_a_loop_over_scipy_labels(random_cases):
    for p, _ in random_cases(3):
        for threshold, volume, high in ((0.3, 0, None), (0.2, 9, None), (0.3, 0, 0.8), (0.1, 15, 0.6)):
            labels, count = ndimage.label(p[0] >= np.float32(threshold), np.ones((3, 3, 3)))
            expected = np.zeros(p.shape, np.uint8)
            for one in range(1, count + 1):
                where = labels == one
                if where.sum() * 3 >= volume and (high is None or p[0][where].max() >= high):
                    expected[0][where] = 1
            mask = apply_operating_point(p, OperatingPoint(threshold, volume, high), spacing_mm=(1, 1, 3))
            np.testing.assert_array_equal(mask, expected)
            assert 0 < mask.sum() < mask.size


def test_channels_and_dtypes():
    for dtype in (np.float16, np.float32, np.float64):
        mask = apply_operating_point(np.concatenate([P, P[..., ::-1]]).astype(dtype), OperatingPoint(0.25))
        assert mask.dtype == np.uint8
        assert mask.tolist() == [[[1, 1, 0, 1, 0, 1, 1, 1]], [[1, 1, 1, 0, 1, 0, 1, 1]]]
    # 0.1 in half precision is less than 0.1, and 0.3 more than 0.3
    assert apply_operating_point(np.array([[[0.1, 0.3]]], np.float16), OperatingPoint(0.1)).tolist() == [[[0, 1]]]


def test_a_voxel_size_from_the_affine_and_metadata_kept():
    p = MetaTensor(torch.from_numpy(P), affine=torch.diag(torch.tensor([2.0, 3.0, 1.0])), meta={"name": "a"})
    mask = apply_operating_point(p, OperatingPoint(0.3, min_volume_mm3=12))
    assert isinstance(mask, MetaTensor)
    assert mask.meta["name"] == "a"
    assert mask.dtype == torch.uint8
    assert mask.flatten().tolist() == [1, 1, 0, 0, 0, 1, 1, 1]
    assert torch.equal(p.as_tensor(), torch.from_numpy(P))


def test_a_millionth_less_is_kept():
    # 0.9 mm in 32 bits is 0.89999998
    p = MetaTensor(torch.ones(1, 1, 1, 1), affine=torch.diag(torch.tensor([0.9, 1, 3, 1], dtype=torch.float32)))
    assert apply_operating_point(p, OperatingPoint(0.5, min_volume_mm3=2.7)).sum() == 1


@pytest.mark.parametrize("shape", [(1, 3, 3), (1, 2, 2, 2), (0, 3, 3), (1, 0, 3)])
def test_nothing_and_everything(shape):
    for value in (0, 1):
        p = torch.full(shape, float(value))
        assert torch.equal(apply_operating_point(p, OperatingPoint(0.5, high_threshold=0.9)), p.byte())


@pytest.mark.parametrize(
    ("probability", "error", "message"),
    [
        (np.array([[[0.5, 1.5]]]), ValueError, r"`probability` to hold probabilities in \[0, 1\], but got 1.5"),
        (np.array([[[0.5, np.nan]]]), ValueError, r"`probability` to hold probabilities in \[0, 1\], but got nan"),
        (np.zeros((2, 2)), ValueError, r"`probability` to be \(C, H, W\) or .* but got shape \(2, 2\)"),
        ([[[0.5]]], TypeError, "`probability` to be a torch.Tensor or numpy.ndarray, but got list"),
    ],
)
def test_bad_input(probability, error, message):
    with pytest.raises(error, match=message):
        apply_operating_point(probability, OperatingPoint(0.3))


def test_a_voxel_size_is_never_guessed():
    point = OperatingPoint(0.3, min_volume_mm3=5)
    with pytest.raises(
        ValueError, match="`spacing_mm` to be given for `min_volume_mm3`, or `probability` to be a Meta"
    ):
        apply_operating_point(P, point)
    with pytest.raises(ValueError, match="2 spatial axes"):
        apply_operating_point(P, point, spacing_mm=(1, 1, 1))
