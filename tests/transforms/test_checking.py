from __future__ import annotations

import math

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose, LoadImaged

from monai_instance_loss.transforms import CheckFinite, CheckFinited, CheckMask, CheckMaskd


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_file_of_an_image_that_is_not_finite_is_named(tmp_path, value):
    image = np.zeros((2, 3, 4), np.float32)
    image[1, 2, 1:3] = value
    paths = {"flair": tmp_path / "FLAIR.nii.gz", "t1": tmp_path / "T1.nii.gz"}
    nib.save(nib.Nifti1Image(image, np.eye(4)), paths["flair"])
    nib.save(nib.Nifti1Image(np.zeros((2, 3, 4), np.int16), np.eye(4)), paths["t1"])
    load = LoadImaged(["flair", "t1"], ensure_channel_first=True, allow_missing_keys=True)
    pipeline = Compose([load, CheckFinited(["flair", "t1"], allow_missing_keys=True)])
    with pytest.raises(RuntimeError) as refused:
        pipeline(paths)
    expected = f"Expected `img` ({paths['flair']}) to be finite, but got NaN or infinity in 2 of 24 voxels."
    assert str(refused.value.__cause__) == expected
    assert pipeline({"t1": paths["t1"]})["t1"].shape == (1, 2, 3, 4)


@pytest.mark.parametrize(
    "img", [np.zeros((1, 2, 2)), np.ones((1, 0, 2), np.uint8), torch.zeros(3, dtype=torch.float16), torch.ones(2) > 0]
)
def test_a_finite_image_is_passed_on_as_it_is(img):
    assert CheckFinite()(img) is img
    assert CheckFinited("a")({"a": img, "b": 0})["a"] is img


def test_no_array_is_refused():
    with pytest.raises(TypeError, match=r"Expected `img` to be a torch\.Tensor or numpy\.ndarray, but got list"):
        CheckFinite()([0.5])


def test_a_mask_of_known_labels_is_passed_on_as_it_is():
    mask = np.array([[[0, 1, 2]]])
    assert CheckMask(ignore_label=2)(mask) is mask
    out = CheckMaskd(["a", "absent"], ignore_label=2, allow_missing_keys=True)({"a": mask, "b": 3})
    assert out["a"] is mask
    assert out["b"] == 3


def test_a_mask_of_other_labels_is_refused():
    with pytest.raises(ValueError, match="no labels but 0 and 1, but got 0, 1, 2"):
        CheckMaskd("a")({"a": torch.tensor([[[0, 1, 2]]])})
