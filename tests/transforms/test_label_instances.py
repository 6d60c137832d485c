from __future__ import annotations

import inspect
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.data import MetaTensor, decollate_batch, list_data_collate, set_track_meta
from monai.transforms import Compose, Flip, RandFlipd, RandSpatialCropd
from monai.utils import TransformBackends
from scipy import ndimage

from monai_instance_loss.instances import instances_from_map, label_instances
from monai_instance_loss.losses import InstanceLoss
from monai_instance_loss.transforms import LabelInstances, LabelInstancesD, LabelInstancesd, LabelInstancesDict

MASK = np.array([[[1, 0, 0, 1], [0, 1, 0, 1]], [[0, 0, 1, 0], [0, 0, 0, 0]]])
# ids run on from the first channel to the second
LABELS = [[[1, 0, 0, 2], [0, 1, 0, 2]], [[0, 0, 3, 0], [0, 0, 0, 0]]]
FACES = [[[1, 0, 0, 2], [0, 3, 0, 2]], [[0, 0, 4, 0], [0, 0, 0, 0]]]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.uint16, np.float32])
@pytest.mark.parametrize(("connectivity", "expected"), [(None, LABELS), (2, LABELS), (1, FACES)])
def test_numpy_gives_numpy(dtype, connectivity, expected):
    out = LabelInstances(connectivity)(MASK.astype(dtype))
    assert type(out) is np.ndarray
    assert out.dtype == np.int32
    assert out.tolist() == expected


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64])
def test_tensor_gives_int32_tensor(dtype):
    out = LabelInstances()(torch.from_numpy(MASK).to(dtype))
    assert isinstance(out, torch.Tensor)
    assert out.dtype == torch.int32
    assert out.tolist() == LABELS


@st.composite
def masks(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    dims = draw(st.integers(2, 3))
    shape = draw(st.tuples(st.integers(1, 3), *[st.integers(1, 5)] * dims))
    return draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 2), fill=st.nothing())), draw(st.integers(1, dims))


@settings(max_examples=40, deadline=None)
@given(masks())
def test_agrees_with_scipy_channel_by_channel(case):
    mask, connectivity = case
    structure = ndimage.generate_binary_structure(mask.ndim - 1, connectivity)
    ignored = (mask == 2).any(0)
    expected, total = np.zeros(mask.shape, np.int32), 0
    for c, channel in enumerate((mask == 1) & ~ignored):
        labels, count = ndimage.label(channel, structure)
        # scipy numbers in raster order too
        expected[c] = np.where(labels > 0, labels + total, 0)
        total += count
    expected[:, ignored] = -1
    np.testing.assert_array_equal(LabelInstances(connectivity, ignore_label=2)(mask), expected)


def test_ignored_voxels_are_minus_one_and_cut_instances():
    # the ignored voxel lies between two foreground voxels, which it keeps apart
    out = LabelInstances(ignore_label=255)(np.array([[[1, 255, 1, 0, 1]]], dtype=np.uint8))
    assert out.tolist() == [[[1, -1, 2, 0, 3]]]


@pytest.mark.parametrize("ignore_label", [256, -1])
def test_a_label_outside_the_dtype_ignores_nothing(ignore_label):
    mask = torch.tensor([[[0, 1, 0]]], dtype=torch.uint8)
    assert LabelInstances(ignore_label=ignore_label)(mask).tolist() == mask.tolist()
    with pytest.raises(ValueError, match=f"ignore_label {ignore_label}, but got 0, 1, 255"):
        LabelInstances(ignore_label=ignore_label)(torch.tensor([[[0, 1, 255]]], dtype=torch.uint8))


def test_map_reads_back_as_the_same_instances():
    mask = torch.from_numpy(MASK)
    labelled = LabelInstances()(mask)
    assert torch.equal(instances_from_map(labelled[None]).labels, label_instances(mask[None]).labels)


def test_metatensor_keeps_metadata_and_history():
    affine = torch.diag(torch.tensor([1.0, 2.0, 3.0, 1.0]))
    mask = Flip(0)(MetaTensor(torch.ones(1, 4, 4, 4, dtype=torch.uint8), affine, meta={"filename_or_obj": "a.nii"}))
    out = LabelInstances()(mask)
    assert isinstance(out, MetaTensor)
    assert torch.equal(out.affine, mask.affine)
    assert out.meta["filename_or_obj"] == "a.nii"
    assert [step["class"] for step in out.applied_operations] == ["Flip"]
    assert mask.dtype == torch.uint8


def test_tracking_follows_monai():
    mask = torch.from_numpy(MASK)
    assert isinstance(LabelInstances()(mask), MetaTensor)
    set_track_meta(False)
    try:
        assert type(LabelInstances()(mask)) is torch.Tensor
    finally:
        set_track_meta(True)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 1, 1), (2, 3, 3), (0, 3, 3)])
@pytest.mark.parametrize("value", [0, 1])
def test_degenerate_masks(shape, value):
    out = LabelInstances()(np.full(shape, value))
    assert out.shape == shape
    assert set(np.unique(out)) == (set(range(1, shape[0] + 1)) if value else {0} if shape[0] else set())


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (np.zeros((3, 3)), ValueError, r"Expected `mask` .* but got shape \(3, 3\)"),
        (np.zeros((1, 1, 1, 1, 1)), ValueError, r"Expected `mask` .* but got shape \(1, 1, 1, 1, 1\)"),
        (torch.tensor([[[0.0, torch.nan]]]), ValueError, "Expected `mask` to be finite, but got NaN"),
        ([[[0, 1]]], TypeError, r"Expected `mask` .* but got list"),
    ],
)
@pytest.mark.parametrize("ignore_label", [None, 2])
def test_bad_masks_are_refused(mask, error, message, ignore_label):
    with pytest.raises(error, match=message):
        LabelInstances(ignore_label=ignore_label)(mask)


def test_bad_connectivity_is_refused():
    with pytest.raises(ValueError, match=r"Expected `connectivity` .* but got 3"):
        LabelInstances(connectivity=3)(MASK)


def test_dictionary_version_misses_no_option():
    array = inspect.signature(LabelInstances.__init__).parameters
    dictionary = inspect.signature(LabelInstancesd.__init__).parameters
    assert list(dictionary) == ["self", "keys", *list(array)[1:], "allow_missing_keys"]
    assert all(dictionary[name].default == array[name].default for name in array)
    assert LabelInstancesd.backend == LabelInstances.backend == [TransformBackends.TORCH]
    assert LabelInstancesD is LabelInstancesDict is LabelInstancesd


def test_dictionary_version_equals_array_version():
    mask = MASK * [[[1]], [[3]]]
    data = {"a": mask, "b": mask.copy(), "image": "untouched"}
    out = LabelInstancesd(["a", "b", "c"], connectivity=1, ignore_label=3, allow_missing_keys=True)(data)
    expected = LabelInstances(connectivity=1, ignore_label=3)(mask)
    np.testing.assert_array_equal(out["a"], expected)
    np.testing.assert_array_equal(out["b"], expected)
    assert out["image"] == "untouched"
    assert data["a"] is mask
    assert mask.max() == 3


def test_missing_key_is_refused():
    with pytest.raises(KeyError, match="label"):
        LabelInstancesd("label")({"image": MASK})


def test_works_in_a_pipeline_with_random_transforms_and_batches():
    pipeline = Compose(
        [LabelInstancesd("label"), RandFlipd("label", prob=1.0), RandSpatialCropd("label", (2, 2), random_size=False)]
    ).set_random_state(0)
    samples = [pipeline({"label": MetaTensor(MASK[:1])}) for _ in range(2)]
    batch = list_data_collate(samples)
    assert tuple(batch["label"].shape) == (2, 1, 2, 2)
    assert batch["label"].dtype == torch.int32
    assert len(decollate_batch(batch)) == 2


def test_survives_pickling():
    assert pickle.loads(pickle.dumps(LabelInstances(1, 2)))(MASK).tolist() == FACES


def test_loss_reads_the_map_as_it_reads_the_mask():
    generator = torch.Generator().manual_seed(0)
    mask = (torch.rand(2, 1, 12, 12, generator=generator) > 0.8).float()
    mask[:, :, :3] = 2
    logits = torch.randn(2, 1, 12, 12, generator=generator)
    labelled = torch.stack([LabelInstances(ignore_label=2)(sample) for sample in mask])
    on_mask = InstanceLoss(sigmoid=True, ignore_index=2).terms(logits, mask)
    on_map = InstanceLoss(sigmoid=True, ignore_index=-1, target_is_instances=True).terms(logits, labelled)
    torch.testing.assert_close(tuple(on_map), tuple(on_mask))
