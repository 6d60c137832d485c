from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from monai_instance_loss.metrics import InstanceF1Metric
from monai_instance_loss.metrics.inputs import prepare_instance_maps, prepare_masks

ZEROS = torch.zeros(1, 1, 2, 3)


def filled(value: float, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    mask = torch.zeros(1, 1, 2, 3, dtype=dtype)
    mask[0, 0, 1, 1] = value
    return mask


@pytest.mark.parametrize(
    ("y_pred", "y", "error", "message"),
    [
        (ZEROS, torch.zeros(1, 1, 2, 2), ValueError, r"Expected `y` .*\(1, 1, 2, 3\), but got \(1, 1, 2, 2\)"),
        (ZEROS, torch.zeros(1, 2, 2, 3), ValueError, r"Expected `y` .*\(1, 1, 2, 3\), but got \(1, 2, 2, 3\)"),
        (ZEROS[0], ZEROS[0], ValueError, r"Expected `y_pred` .* but got shape \(1, 2, 3\)"),
        (ZEROS, ZEROS[None, None], ValueError, r"Expected `y` .* but got shape \(1, 1, 1, 1, 2, 3\)"),
        (filled(0.5), ZEROS, ValueError, r"Expected `y_pred` to be binary.* but got 0\.5"),
        (filled(-1), ZEROS, ValueError, r"Expected `y_pred` to be binary.* but got -1"),
        (filled(torch.nan), ZEROS, ValueError, r"Expected `y_pred` to be binary.* but got nan"),
        (ZEROS, filled(torch.nan), ValueError, r"Expected `y` to be binary.* but got nan"),
        (ZEROS, filled(torch.inf), ValueError, r"Expected `y` to be binary.* but got inf"),
        (ZEROS, filled(2, torch.uint8), ValueError, r"Expected `y` to be binary.* but got 2"),
        (ZEROS, None, TypeError, "Expected `y` to be a torch.Tensor, but got NoneType"),
    ],
)
def test_bad_masks_are_refused_by_name_and_buffer_nothing(y_pred, y, error, message):
    metric = InstanceF1Metric()
    with pytest.raises(error, match=message):
        metric(y_pred, y)
    assert metric.get_buffer() is None


def test_values_beside_the_ignore_index_are_refused():
    y = filled(-1)
    y[0, 0, 0, 0] = 2
    with pytest.raises(ValueError, match=r"Expected `y` .*\{0, 1\} or the ignore_index -1, but got 2"):
        InstanceF1Metric(ignore_index=-1)(ZEROS, y)
    with pytest.raises(ValueError, match=r"Expected `y_pred` .* but got -1"):
        InstanceF1Metric(ignore_index=-1)(filled(-1), ZEROS)


@pytest.mark.parametrize("ignore_index", [0, 1])
def test_ignoring_a_binary_value_of_several_channels_is_refused(ignore_index):
    masks = torch.zeros(1, 2, 2, 3)
    with pytest.raises(ValueError, match=rf"Expected `ignore_index` .* 2 channels, but got {ignore_index}"):
        InstanceF1Metric(ignore_index=ignore_index)(masks, masks)


def test_ignoring_one_of_a_single_channel_compares_directly():
    y_pred, y = prepare_masks(torch.ones(1, 1, 1, 2), torch.tensor([[[[0, 1]]]]), ignore_index=1)
    assert (y_pred.tolist(), y.tolist()) == ([[[[True, False]]]], [[[[False, False]]]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.int16, torch.int8])
@pytest.mark.parametrize("include_background", [True, False])
def test_ignored_in_one_channel_is_out_of_all(dtype, include_background):
    # only the background channel marks voxel 0; voxel 1 is marked by the other one
    y = torch.tensor([[[[-1, 0, 0, 1]], [[1, -1, 1, 0]]]]).to(dtype)
    y_pred, y = prepare_masks(torch.ones(1, 2, 1, 4), y, include_background, ignore_index=-1)
    assert y_pred[:, -1].tolist() == [[[False, False, True, True]]]
    assert y[:, -1].tolist() == [[[False, False, True, False]]]
    assert y.shape[1] == (2 if include_background else 1)


def test_an_index_outside_the_dtype_ignores_nothing():
    # 256 in uint8 wraps around to 0: comparing there would ignore the background
    y = torch.tensor([[[[0, 1]]]], dtype=torch.uint8)
    for index in (256, -1):
        y_pred, true = prepare_masks(torch.ones(1, 1, 1, 2), y, ignore_index=index)
        assert (y_pred.tolist(), true.tolist()) == ([[[[True, True]]]], [[[[False, True]]]])


@pytest.mark.parametrize(
    "dtype",
    [torch.bool, torch.uint8, torch.int8, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float64],
)
def test_any_dtype_gives_bool_masks(dtype):
    mask = torch.tensor([[[[0, 1], [1, 0]]]]).to(dtype)
    for out in prepare_masks(MetaTensor(mask), mask):
        assert type(out) is torch.Tensor
        assert out.dtype == torch.bool
        assert out.tolist() == [[[[False, True], [True, False]]]]


def test_a_single_channel_is_kept_without_background():
    assert prepare_masks(ZEROS, ZEROS, include_background=False)[0].shape == ZEROS.shape
    assert prepare_masks(ZEROS.repeat(1, 3, 1, 1), ZEROS.repeat(1, 3, 1, 1), False)[1].shape[1] == 2


@pytest.mark.parametrize(
    ("y_pred", "y", "error", "message"),
    [
        (ZEROS, torch.zeros(1, 1, 2, 2), ValueError, r"Expected `y` .*\(1, 1, 2, 3\), but got \(1, 1, 2, 2\)"),
        (ZEROS[0], ZEROS[0], ValueError, r"Expected `y_pred` .* but got shape \(1, 2, 3\)"),
        (filled(1.5), ZEROS, ValueError, "Expected `y_pred` to hold whole numbers, but got 1.5"),
        (ZEROS, filled(torch.nan), ValueError, "Expected `y` to hold whole numbers, but got nan"),
        (ZEROS, filled(-torch.inf), ValueError, "Expected `y` to hold whole numbers, but got -inf"),
        (ZEROS, [1], TypeError, "Expected `y` to be a torch.Tensor, but got list"),
    ],
)
def test_bad_instance_maps_are_refused_by_name(y_pred, y, error, message):
    with pytest.raises(error, match=message):
        prepare_instance_maps(y_pred, y)


def test_ignoring_the_background_of_several_maps_is_refused():
    maps = torch.zeros(1, 2, 2, 3)
    with pytest.raises(ValueError, match="Expected `ignore_index` to be other than 0 for 2 channels, but got 0"):
        prepare_instance_maps(maps, maps, ignore_index=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int16, torch.int8])
@pytest.mark.parametrize("include_background", [True, False])
def test_ignored_in_one_map_is_out_of_all(dtype, include_background):
    y = torch.tensor([[[[-1, 0, 0, 7]], [[5, -1, 5, 0]]]]).to(dtype)
    y_pred, y = prepare_instance_maps(torch.full((1, 2, 1, 4), 3), MetaTensor(y), include_background, ignore_index=-1)
    assert y_pred[:, -1].tolist() == [[[0, 0, 3, 3]]]
    assert y[:, -1].tolist() == [[[0, 0, 5, 0]]]
    assert (type(y), y.dtype) == (torch.Tensor, dtype)
    assert y.shape[1] == (2 if include_background else 1)
