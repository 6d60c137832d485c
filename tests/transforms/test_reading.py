"""One rule for the labels of a mask and for ignored voxels, whatever reads them: that of the metrics."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose, LoadImaged

from monai_instance_loss.losses import InstanceLoss
from monai_instance_loss.metrics.inputs import prepare_masks
from monai_instance_loss.transforms import (
    FilterInstances,
    InstanceCenters,
    InstanceWeightMap,
    LabelInstances,
    LabelInstancesd,
    MeasureInstances,
    RandCropByInstance,
)

READERS = {
    "label": LabelInstances(),
    "centers": InstanceCenters(),
    "weights": InstanceWeightMap(),
    "measure": MeasureInstances(),
    "crop": lambda mask: RandCropByInstance(1)(mask, mask),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("form", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize(
    ("labels", "dtype", "listed"),
    [
        ([0, 1, 3], np.uint8, "0, 1, 3"),
        ([1, 0, -1], np.int16, "-1, 0, 1"),
        ([0, 2, 2], np.int64, "0, 2"),
        ([0.25, 1, 0], np.float32, "0, 0.25, 1"),
        (range(12), np.int32, r"0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\.\.\Z"),
    ],
)
def test_other_labels_are_refused_and_listed(reader, form, labels, dtype, listed):
    mask = form(np.array([[list(labels)]], dtype=dtype))
    with pytest.raises(ValueError, match=f"Expected `(mask|label)` to hold no labels but 0 and 1, but got {listed}"):
        reader(mask)


def test_the_ignored_label_is_the_only_other_one():
    with pytest.raises(ValueError, match="no labels but 0, 1 and the ignore_label 2, but got 0, 1, 2, 3"):
        LabelInstances(ignore_label=2)(np.array([[[0, 1, 2, 3]]]))
    assert LabelInstances(ignore_label=-1)(np.array([[[0, 1, -1]]])).tolist() == [[[0, 1, -1]]]


def test_the_file_of_an_unknown_label_is_named(tmp_path):
    path = tmp_path / "wmh.nii.gz"
    nib.save(nib.Nifti1Image(np.full((2, 2, 2), 3, np.uint8), np.eye(4)), path)
    pipeline = Compose([LoadImaged("wmh", ensure_channel_first=True), LabelInstancesd("wmh", ignore_label=2)])
    with pytest.raises(RuntimeError) as refused:
        pipeline({"wmh": path})
    assert f"Expected `mask` ({path}) to hold no labels but" in str(refused.value.__cause__)
    assert "but got 3." in str(refused.value.__cause__)


@pytest.mark.parametrize("ignore_label", [2, 255, -1])
def test_ignored_voxels_are_those_of_the_metrics(ignore_label):
    rng = np.random.default_rng(0)
    mask = rng.choice([0, 1, ignore_label], size=(2, 8, 8), p=[0.6, 0.3, 0.1])
    out = LabelInstances(ignore_label=ignore_label)(mask)
    _, y = prepare_masks(torch.zeros(1, 2, 8, 8), torch.from_numpy(mask)[None], ignore_index=ignore_label)
    np.testing.assert_array_equal(out > 0, y[0])
    np.testing.assert_array_equal(out < 0, np.broadcast_to((mask == ignore_label).any(0), mask.shape))


def test_an_ignored_voxel_of_one_channel_is_ignored_by_the_loss_in_both():
    mask = np.zeros((2, 6, 6), np.int64)
    mask[0, 1:3, 1:3] = mask[1, 4, 4] = 1
    mask[0, 4, 4] = 2
    labelled = torch.from_numpy(LabelInstances(ignore_label=2)(mask))[None]
    assert labelled[0, :, 4, 4].tolist() == [-1, -1]
    loss = InstanceLoss(sigmoid=True, target_is_instances=True, ignore_index=-1)
    logits = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    changed = logits.clone()
    changed[..., 4, 4] = 9
    torch.testing.assert_close(loss(logits, labelled), loss(changed, labelled))


def test_an_ignored_label_that_every_voxel_may_hold_is_refused():
    with pytest.raises(ValueError, match="`ignore_label` to be neither 0 nor 1 for 2 channels, but got 1"):
        LabelInstances(ignore_label=1)(np.zeros((2, 3, 3)))


def test_a_filter_passes_labels_on():
    # the other pathology of a training mask stays where it is until somebody reads the mask
    mask = np.array([[[1, 1, 0, 1, 0, 2, 2]]])
    assert FilterInstances(min_voxels=2)(mask).tolist() == [[[1, 1, 0, 0, 0, 2, 2]]]
